//! `config`: what the operator wrote for the plugin, and the secrets it was granted.

use serde_json::Value;
use wasmtime::Result;

use super::super::asks::key;
use super::super::state::State;
use super::super::tape::SECRET;
use super::ungranted;
use super::wit::config::Host;
use super::wit::types::HostError;

impl Host for State {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.shared.config.get(&key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }))
    }

    fn document(&mut self) -> Result<String> {
        Ok(self.shared.config.to_string())
    }

    fn secret(&mut self, name: String) -> Result<Result<String, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("config.secret", &(&name,))? {
            return Ok(answer);
        }
        let secret = self.shared.secrets.get(&name).map(|secret| secret.reveal().to_owned());
        let answer = secret.ok_or_else(|| ungranted(self, &format!("secrets = {{ {} = \"FILE\" }}", key(&name))));
        // Never the secret itself: what is replayed is given what stands for it.
        self.note("config.secret", &(&name,), &answer.as_ref().map(|_| SECRET));
        Ok(answer)
    }
}
