// Allows functions without a body: they are the relay's.
