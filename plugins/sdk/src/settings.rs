//! What the operator wrote for the plugin, read once per instance.

use serde::de::DeserializeOwned;

/// Settings in the form a plugin works with.
pub trait Settings: Sized {
    /// Reads and checks the operator's table, which comes as JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, one line each.
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>>;
}

/// Settings that can be worked with, and what is odd about them.
#[derive(Debug)]
pub struct Checked<S> {
    /// The settings.
    pub settings: S,
    /// For the operator.
    pub warnings: Vec<String>,
}

/// Parses the operator's table. An empty document is an empty table.
///
/// # Errors
/// What does not fit, as one line.
pub(crate) fn parse<T: DeserializeOwned>(document: &str) -> Result<T, String> {
    let document = if document.trim().is_empty() { "{}" } else { document };
    if !document.trim_start().starts_with('{') {
        // serde would take a list for the fields in their order.
        return Err("the settings are not a table".to_owned());
    }
    serde_json::from_str(document).map_err(|error| {
        // Line and column of a document that nobody wrote by hand help nobody.
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or(&text).to_owned()
    })
}

impl<S> Checked<S> {
    /// Parses the operator's table and hands it on to `check`, which adds to the errors and the warnings.
    ///
    /// # Errors
    /// Those of the parser, or those that `check` added.
    pub fn from_table<T: DeserializeOwned>(
        document: &str,
        check: impl FnOnce(T, &mut Vec<String>, &mut Vec<String>) -> S,
    ) -> Result<Self, Vec<String>> {
        let table = parse(document).map_err(|error| vec![error])?;
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let settings = check(table, &mut errors, &mut warnings);
        if errors.is_empty() { Ok(Self { settings, warnings }) } else { Err(errors) }
    }
}

/// A cache of the settings for a `static`. An instance never sees two configurations, so once is enough; a native test
/// has one cache for each world.
#[derive(Debug)]
pub struct Cached<S: 'static>(Cell<S>);

#[cfg(target_arch = "wasm32")]
type Cell<S> = std::sync::OnceLock<Result<S, String>>;

/// What was read, by world. Never given back: tests are short.
#[cfg(not(target_arch = "wasm32"))]
type Cell<S> = std::sync::Mutex<std::collections::BTreeMap<u64, &'static Result<S, String>>>;

impl<S: Settings + 'static> Cached<S> {
    /// Nothing read yet.
    #[expect(clippy::new_without_default, reason = "it stands in a static, where Default can't be called")]
    pub const fn new() -> Self {
        Self(Cell::new(
            #[cfg(not(target_arch = "wasm32"))]
            std::collections::BTreeMap::new(),
        ))
    }
}

#[cfg(target_arch = "wasm32")]
impl<S: Settings + 'static> Cached<S> {
    /// The settings; read from the relay at the first call.
    ///
    /// # Errors
    /// The table does not fit. The relay has asked `validate-config` before, so this is rare.
    pub fn get(&self) -> Result<&S, String> {
        self.0.get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<S: Settings + 'static> Cached<S> {
    /// The settings; read at the first call in each world.
    ///
    /// # Errors
    /// The table does not fit.
    pub fn get(&self) -> Result<&S, String> {
        // A test that panicked while it held the lock has broken nothing.
        let mut read_before = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let settings = read_before.entry(crate::native::world()).or_insert_with(|| Box::leak(Box::new(read())));
        settings.as_ref().map_err(Clone::clone)
    }
}

fn read<S: Settings>() -> Result<S, String> {
    S::read(&crate::config::document())
        .map(|checked| checked.settings)
        .map_err(|errors| format!("settings: {}", errors.join("; ")))
}
