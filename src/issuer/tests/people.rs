//! Users with passwords, their sessions, and what the trail says of whoever acted.

use super::*;
use crate::domain::token::{SESSION_PREFIX, TokenDigest};
use crate::issuer::users::{UserEdit, hash_password};

const PASSWORD: &str = "correct horse battery";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn set(fixture: &Fixture, login: &str, edit: UserEdit) -> Result<crate::store::rows::UserRow, IssueError> {
    fixture.run(fixture.issuer.set_user(fixture.by("root"), login.into(), edit))
}

#[test]
fn a_user_is_made_and_changed_and_every_change_is_told_once() {
    let fixture = Fixture::new();
    let all = || UserEdit { password: Some("hash".into()), administrator: Some(true), suspended: Some(true) };
    set(&fixture, "bob", UserEdit::default()).unwrap();
    assert_eq!(fixture.events(), ["user.create by root"]);
    let user = set(&fixture, "BOB", all()).unwrap();
    assert_eq!((&*user.login, user.administrator, user.suspended_at), ("bob", true, Some(fixture.now())));
    let events = ["user.change_password by root", "user.promote by root", "user.suspend by root"];
    assert_eq!(fixture.events(), events);
    set(&fixture, "bob", UserEdit { password: None, ..all() }).unwrap();
    assert_eq!(fixture.events(), [""; 0]);
    let none = UserEdit { password: None, administrator: Some(false), suspended: Some(false) };
    set(&fixture, "bob", none).unwrap();
    assert_eq!(fixture.events(), ["user.demote by root", "user.unsuspend by root"]);
    for login in ["", "a b", "a/b", "ä", "policy: x", &"a".repeat(101)] {
        check_invalid(set(&fixture, login, UserEdit::default()), &[("login", "1 to 100 letters")]);
    }
}

#[test]
fn a_password_has_a_length() {
    for (text, fits) in [("x".repeat(11), false), ("x".repeat(12), true), ("x".repeat(1_025), false)] {
        assert_eq!(hash_password(&secret(&text)).is_ok(), fits, "{}", text.len());
    }
    let [one, other] = [(); 2].map(|()| hash_password(&secret(PASSWORD)).unwrap());
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    assert_ne!(one, other, "each has a salt of its own");
}

/// Whether `login` gets in with `password`.
fn sign_in(fixture: &Fixture, login: &str, password: &str) -> Result<users::Session, IssueError> {
    fixture.run(fixture.issuer.sign_in(fixture.by(login), secret(password)))
}

#[test]
fn who_knows_the_password_gets_a_session_until_it_ends() {
    let fixture = Fixture::new();
    let hash = hash_password(&secret(PASSWORD)).unwrap();
    set(&fixture, "bob", UserEdit { password: Some(hash), ..UserEdit::default() }).unwrap();
    set(&fixture, "carol", UserEdit::default()).unwrap();
    fixture.events();
    for (login, password) in
        [("bob", "wrong horse battery"), ("bob", ""), ("carol", PASSWORD), ("eve", PASSWORD)]
    {
        let refused = sign_in(&fixture, login, password).unwrap_err();
        assert_eq!(refused.to_string(), "unknown login, or wrong password", "{login}");
    }
    assert_eq!(fixture.events(), [""; 0]);
    let session = sign_in(&fixture, "Bob", PASSWORD).unwrap();
    assert!(session.text.expose().starts_with(SESSION_PREFIX));
    assert_eq!(fixture.events(), ["user.sign_in by Bob"]);
    let end = fixture.now().0 + 12 * 60 * 60;
    let whose = |text: &str, now: i64| {
        let found = fixture.run(fixture.issuer.session(text, UnixTime(now))).unwrap();
        found.map(|user| user.login)
    };
    let text = session.text.expose();
    assert_eq!((whose(text, end - 1), whose(text, end)), (Some("bob".into()), None));
    let other = sign_in(&fixture, "bob", PASSWORD).unwrap();
    fixture.run(fixture.issuer.sign_out(TokenDigest::of(other.text.expose()))).unwrap();
    assert_eq!((whose(text, NOW), whose(other.text.expose(), NOW)), (Some("bob".into()), None));
    set(&fixture, "bob", UserEdit { suspended: Some(true), ..UserEdit::default() }).unwrap();
    assert_eq!(whose(text, NOW), None);
    assert!(sign_in(&fixture, "bob", PASSWORD).is_err());
    set(&fixture, "bob", UserEdit { suspended: Some(false), ..UserEdit::default() }).unwrap();
    assert_eq!(whose(text, NOW), None, "it does not come back");
}

/// The newest entry of the trail.
fn last_entry(fixture: &Fixture) -> Value {
    let read = fixture.issuer.store.read_now(|reads| reads.audit(&AuditQuery::default(), 1));
    serde_json::from_str(&read.unwrap()[0].entry).unwrap()
}

#[test]
fn the_trail_names_the_token_the_actor_and_the_means() {
    let fixture = Fixture::new();
    let mut setting = fixture.by("bob");
    setting.actor.by = Means::Token(TokenDigest::of("asks"));
    let held = part("acme all contents=read");
    setting.bound = Some(Bound { parts: vec![held], expires_at: UnixTime(NOW + 366 * 86_400) });
    setting.actor.request_id = Some("r1".into());
    setting.now_micros += 1_999;
    let wish =
        Draft { reason: Some("builds".into()), ..draft("nightly", &["acme alpha,beta contents=read"]) };
    let issued = fixture.run(fixture.issuer.create(setting, wish)).unwrap();
    let (entry, token) = (last_entry(&fixture), &issued.view.token);
    let hash = crate::store::audit::hashed_token(&token.digest);
    for (field, want) in [
        ("action", "personal_access_token.request_created".into()),
        ("operation_type", "create".into()),
        ("@timestamp", (NOW * 1_000 + 1).into()),
        ("actor", "bob".into()),
        ("actor_ip", "192.0.2.7".into()),
        ("actor_means", "token".into()),
        ("actor_hashed_token", crate::store::audit::hashed_token(&TokenDigest::of("asks")).into()),
        ("request_id", "r1".into()),
        ("user", "bob".into()),
        ("org", "acme".into()),
        ("repository_selection", "subset".into()),
        ("repositories", vec!["acme/alpha", "acme/beta"].into()),
        ("reason", "builds".into()),
        ("token_id", token.id.into()),
        ("hashed_token", hash.clone().into()),
        ("user_programmatic_access_name", "nightly".into()),
        ("user_programmatic_access_request_id", issued.view.requests[0].id.into()),
        ("user_agent", Value::Null),
    ] {
        assert_eq!(entry[field], want, "{field}");
    }
    fixture.regenerate(token.id, Expiry::Usual, 60).unwrap();
    let entry = last_entry(&fixture);
    assert_eq!(entry["previous_hashed_token"], Value::from(hash));
    assert_eq!(entry["previous_works_until"], Value::from(NOW + 60));
    assert_eq!(entry["actor_means"], Value::Null);
}

#[test]
fn no_text_of_a_token_stands_in_the_trail() {
    let fixture = Fixture::new();
    let wish = draft("nightly", &["bob all contents=read"]);
    let issued = fixture.run(fixture.issuer.create(fixture.by("bob"), wish)).unwrap();
    let renewed = fixture.regenerate(issued.view.token.id, Expiry::Usual, 0).unwrap();
    let all = fixture.issuer.store.read_now(|reads| reads.audit(&AuditQuery::default(), 100)).unwrap();
    assert_eq!(all.len(), 3);
    for text in [issued.text, renewed.text] {
        let random = text.expose().rsplit('_').next().unwrap();
        assert!(all.iter().all(|entry| !entry.entry.contains(random)));
    }
}
