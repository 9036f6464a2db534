//! Who has to have signed what, and what is said to those who have not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::plugin::signature::beside;
use crate::plugin::{Build, keygen, sign, verify};

/// A key in a folder: its file and the public half.
fn key(dir: &Path, name: &str) -> (std::path::PathBuf, String) {
    let file = dir.join(name);
    let public = keygen(&file).unwrap();
    (file, public)
}

fn octets(key: &str) -> [u8; 32] {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(key).unwrap().try_into().unwrap()
}

/// Why the plugin is refused; empty: it is not.
async fn refusal(fixture: &Fixture) -> String {
    let built = fixture.try_build(1, Build::Strict).await;
    built.err().into_iter().flatten().map(|error| error.to_string()).collect()
}

#[tokio::test]
async fn only_what_a_trusted_key_signed_is_loaded() {
    let mut fixture = Fixture::new().with("p", &answering(Hook::Rcpt, &saying(2, 550, "signed")));
    let component = fixture.path("p");
    let (ours, public) = key(fixture.dir.path(), "ours");
    let (theirs, _) = key(fixture.dir.path(), "theirs");
    let signature = beside(&component);

    fs::write(&signature, "nobody cares").unwrap();
    assert_eq!(refusal(&fixture).await, "", "nobody is trusted, so nothing is looked at");
    fixture.config.host.signers = vec![octets(&public)];
    assert!(refusal(&fixture).await.contains("p.wasm.sig is no signature"));
    fs::remove_file(&signature).unwrap();
    assert_eq!(refusal(&fixture).await, "", "none is needed");

    fixture.config.host.require_signature = true;
    let said = refusal(&fixture).await;
    assert!(said.contains("not signed") && said.contains("waypost plugin sign"), "{said}");
    assert_eq!(sign(&ours, &component).unwrap(), signature);
    assert_eq!(refusal(&fixture).await, "");
    for require in [true, false] {
        fixture.config.host.require_signature = require;
        sign(&theirs, &component).unwrap();
        let said = refusal(&fixture).await;
        assert!(said.contains("none of plugin-host.signers") && said.contains("add the key"), "{said}");
        for malformed in ["", "%%%", "AAAA", &"A".repeat(5000)] {
            fs::write(&signature, malformed).unwrap();
            let said = refusal(&fixture).await;
            assert!(said.contains("is no signature") && said.contains("sign the component again"), "{said}");
        }
        fs::write(&signature, [0xff; 64]).unwrap();
        assert!(refusal(&fixture).await.contains("can't be read"));
        sign(&ours, &component).unwrap();
        assert_eq!(refusal(&fixture).await, "");
    }
    fs::write(&component, answering(Hook::Rcpt, &saying(2, 550, "changed"))).unwrap();
    assert!(refusal(&fixture).await.contains("changed after it was signed"));
}

#[test]
fn keys_are_made_once_and_signatures_verified() {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("p.wasm");
    fs::write(&component, "octets").unwrap();
    let (file, public) = key(dir.path(), "key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(keygen(&file).is_err(), "a key is never overwritten");
    assert!(verify(&public, &component).is_err(), "not signed yet");
    sign(&file, &component).unwrap();
    assert_eq!(verify(&public, &component), Ok(()));
    assert!(verify(&key(dir.path(), "other").1, &component).is_err());
    assert!(verify("rubbish", &component).unwrap_err().contains("no Ed25519 public key"));
    fs::write(&component, "octets!").unwrap();
    assert!(verify(&public, &component).is_err());
    fs::write(dir.path().join("no-key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(sign(&dir.path().join("no-key"), &component).unwrap_err().contains("waypost plugin keygen"));
}
