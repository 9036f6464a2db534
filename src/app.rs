//! The composition root: builds the seams, starts the loops, reloads, drains. May touch everything.
