//! SCRAM, played by an independent client: the other half of rsasl. What can be foreseen is in the transcripts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::prelude::{Mechanism, Mechname, Registry, SASLClient, SASLConfig, SessionError};
use rsasl::property::{AuthId, AuthzId, ChannelBindings, OverrideCBType, Password};

use super::dialogues::Player;
use crate::session::ScramVerifier;

/// What the password of RFC 7677 section 3 comes to, with the salt and the iterations there.
pub(super) fn pencil() -> ScramVerifier {
    let octets = |text: &str| STANDARD.decode(text).unwrap();
    ScramVerifier {
        iterations: 4096,
        salt: octets("W22ZaJ0SNY7soEsUEjb6gQ==").into(),
        stored_key: octets("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=").try_into().unwrap(),
        server_key: octets("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=").try_into().unwrap(),
    }
}

/// A client that knows a name and a password, and perhaps what it binds itself to.
struct Client {
    name: &'static str,
    acts_as: Option<&'static str>,
    password: &'static str,
    binding: Option<&'static str>,
}

const ANN: Client = Client { name: "ann", acts_as: None, password: "pencil", binding: None };

impl SessionCallback for Client {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(self.name)?.satisfy::<Password>(self.password.as_bytes())?;
        if let Some(acts_as) = self.acts_as {
            request.satisfy::<AuthzId>(acts_as)?;
        }
        if let Some(binding) = self.binding {
            request.satisfy::<OverrideCBType>("tls-exporter")?.satisfy::<ChannelBindings>(binding.as_bytes())?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.binding.is_some()
    }
}

impl Client {
    /// Authenticates, and takes the client's part to the end or to where one side has had enough. The last reply.
    fn authenticate(self, player: &mut Player, mechanism: &str) -> String {
        static BARE: &[Mechanism] = &[SCRAM_SHA256];
        static BOTH: &[Mechanism] = &[SCRAM_SHA256, SCRAM_SHA256_PLUS];
        let registry = Registry::with_mechanisms(if self.binding.is_some() { BOTH } else { BARE });
        let config = SASLConfig::builder().with_registry(registry).with_callback(self).unwrap();
        let offered = [Mechname::parse(mechanism.as_bytes()).unwrap()];
        let mut client = SASLClient::new(config).start_suggested(&offered).unwrap();
        let mut said = Vec::new();
        client.step(None, &mut said).unwrap();
        player.send(format!("AUTH {mechanism} {}\r\n", STANDARD.encode(&said)).as_bytes());
        loop {
            let reply = player.replies.pop_front().unwrap();
            let Some(challenge) = reply.strip_prefix("334 ") else { return reply };
            said.clear();
            let challenge = STANDARD.decode(challenge).unwrap();
            client.step(Some(&challenge), &mut said).expect("the server proves itself");
            player.send(format!("{}\r\n", STANDARD.encode(&said)).as_bytes());
        }
    }
}

fn player(settings: &[&str]) -> Player {
    let mut player = Player::new(&[&["tls", "verifiers"], settings].concat(), usize::MAX);
    player.pump();
    player.send(b"EHLO client.example\r\n");
    player.replies.clear();
    player.acts.clear();
    player
}

#[test]
fn who_knows_the_password_is_let_in_after_the_hook_was_asked() {
    let mut player = player(&[]);
    player.will_say("auth", "success ann");
    assert_eq!(ANN.authenticate(&mut player, "SCRAM-SHA-256"), "235 2.7.0 authenticated");
    assert_eq!(player.acts, ["verifier ann", "auth SCRAM-SHA-256 ann - -"]);
    assert_eq!(&*player.identity().unwrap().mechanism, "SCRAM-SHA-256", "whatever the hook says");
}

#[test]
fn a_hook_can_refuse_and_none_can_let_in_without_proof() {
    let mut refused = player(&[]);
    refused.will_say("auth", "failure 535 5.7.8 not ann");
    assert_eq!(ANN.authenticate(&mut refused, "SCRAM-SHA-256"), "535 5.7.8 not ann");
    let mut guessing = player(&[]);
    guessing.will_say("auth", "success ann");
    let reply = Client { password: "pen", ..ANN }.authenticate(&mut guessing, "SCRAM-SHA-256");
    assert_eq!(reply, "535 5.7.8 authentication failed");
    assert_eq!(guessing.acts, ["verifier ann"], "no hook was asked");
    assert!(guessing.identity().is_none());
}

#[test]
fn guesses_are_counted() {
    let mut player = player(&[]);
    for _ in 0..3 {
        let client = Client { password: "pen", ..ANN };
        assert_eq!(client.authenticate(&mut player, "SCRAM-SHA-256"), "535 5.7.8 authentication failed");
    }
    assert_eq!(player.replies, ["421 4.7.0 too many failed authentications"]);
}

#[test]
fn names_are_unescaped_and_whom_to_act_as_is_told() {
    let mut player = player(&[]);
    player.will_say("auth", "success x");
    let client = Client { name: "a,b=", acts_as: Some("bob"), ..ANN };
    assert_eq!(client.authenticate(&mut player, "SCRAM-SHA-256"), "235 2.7.0 authenticated");
    assert_eq!(player.acts, ["verifier a,b=", "auth SCRAM-SHA-256 a,b= bob -"]);
}

#[test]
fn a_bound_client_is_let_in_through_its_own_connection_only() {
    let mut own = player(&["exporter=of this connection"]);
    own.will_say("auth", "success ann");
    let bound = Client { binding: Some("of this connection"), ..ANN };
    assert_eq!(bound.authenticate(&mut own, "SCRAM-SHA-256-PLUS"), "235 2.7.0 authenticated");
    assert_eq!(own.acts, ["verifier ann", "auth SCRAM-SHA-256-PLUS ann - -"]);
    let mut between = player(&["exporter=of this connection"]);
    let bound = Client { binding: Some("of another"), ..ANN };
    assert_eq!(bound.authenticate(&mut between, "SCRAM-SHA-256-PLUS"), "535 5.7.8 authentication failed");
}

/// RFC 5802 section 6: a client that could bind itself and was not offered it says so.
#[test]
fn a_list_that_lost_plus_on_the_way_lets_nobody_in() {
    let first = |flag: &str| format!("AUTH SCRAM-SHA-256 {}\r\n", STANDARD.encode(format!("{flag},,n=ann,r=x")));
    let mut offered = player(&["exporter=of this connection"]);
    offered.send(first("y").as_bytes());
    assert_eq!(offered.replies, ["535 5.7.8 channel binding does not fit"]);
    let mut elsewhere = player(&[]);
    elsewhere.send(first("y").as_bytes());
    assert!(elsewhere.replies[0].starts_with("334 "), "{:?}", elsewhere.replies);
    let mut unlisted = player(&["exporter=of this connection", "mechanisms=SCRAM-SHA-256"]);
    unlisted.send(first("y").as_bytes());
    assert!(unlisted.replies[0].starts_with("334 "), "{:?}", unlisted.replies);
}

#[test]
fn the_last_message_has_to_fit_the_first() {
    for (last, wanted) in [
        ("c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "535 5.7.8 authentication failed"),
        ("c=eSws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "535 5.7.8 authentication failed"),
        ("c=biws,r=other,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "535 5.7.8 authentication failed"),
        ("c=biws,r=NONCE,p=AAAA", "501 5.5.2 that can't be decoded"),
        ("c=biws,r=NONCE,x=y,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "501 5.5.2 that can't be decoded"),
        ("c=biws,r=NONCE", "501 5.5.2 that can't be decoded"),
        ("c=biws,r=NONCE,", "501 5.5.2 that can't be decoded"),
        ("c,r,p", "501 5.5.2 that can't be decoded"),
        ("", "501 5.5.2 that can't be decoded"),
    ] {
        let mut player = player(&[]);
        player.send(format!("AUTH SCRAM-SHA-256 {}\r\n", STANDARD.encode("n,,n=ann,r=x")).as_bytes());
        let reply = player.replies.pop_front().unwrap();
        let challenge = STANDARD.decode(reply.strip_prefix("334 ").unwrap()).unwrap();
        let challenge = String::from_utf8(challenge).unwrap();
        let nonce = challenge.strip_prefix("r=").unwrap().split(',').next().unwrap();
        assert!(nonce.starts_with('x') && nonce.len() >= 25, "{challenge}");
        assert!(challenge.ends_with(",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), "{challenge}");
        player.send(format!("{}\r\n", STANDARD.encode(last.replace("NONCE", nonce))).as_bytes());
        assert_eq!(player.replies, [wanted], "{last}");
        assert!(player.identity().is_none());
    }
}

proptest::proptest! {
    #[test]
    fn no_octets_let_anybody_in(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        crate::session::fuzz_sasl(&octets);
    }

    /// Near misses of what clients say.
    #[test]
    fn no_words_let_anybody_in(words in proptest::collection::vec(proptest::sample::select(vec![
        "n", "y", "p=tls-exporter", ",", ",,", "a=", "n=ann", "r=x", "c=biws", "c=", "p=", "=2C", "=", "\n", "\x01", "auth=Bearer t",
        "user=ann", "\0", "m=1", "r=", "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ]), 0..24)) {
        crate::session::fuzz_sasl(words.concat().as_bytes());
    }
}
