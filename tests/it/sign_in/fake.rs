//! A provider that says whatever a test has it say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::clock;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::secure::Pair;

/// A key with its name.
pub(super) struct Signer {
    pub(super) name: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "kid": self.name, "x": part(&point[1..33]), "y": part(&point[33..]) })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.name });
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", part(signature))
    }
}

pub(super) fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// What it answers next, and what it was asked.
#[derive(Default)]
pub(super) struct Script {
    pub(super) token: String,
    pub(super) keys: Vec<Value>,
    /// The whole answers to these paths, in place of the usual ones.
    pub(super) instead: Vec<(&'static str, String)>,
    pub(super) asked: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) issuer: String,
    pub(super) script: Arc<Mutex<Script>>,
}

impl Fake {
    pub(super) fn start(signer: &Signer) -> Self {
        Self::serve(signer, None)
    }

    /// With a certificate.
    pub(super) fn secure(signer: &Signer, pair: &Pair) -> Self {
        Self::serve(signer, Some(Arc::new(pair.server())))
    }

    fn serve(signer: &Signer, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let issuer = format!("{scheme}://{}", listener.local_addr().unwrap());
        let script = Script { keys: vec![signer.jwk()], ..Script::default() };
        let fake = Self { issuer, script: Arc::new(Mutex::new(script)) };
        let serving = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                match &tls {
                    None => serving.answer(stream),
                    Some(tls) => {
                        let session = ServerConnection::new(Arc::clone(tls)).unwrap();
                        serving.answer(StreamOwned::new(session, stream));
                    }
                }
            }
        });
        fake
    }

    /// The key of `signer` is another one of its own.
    pub(super) fn adopt(&self, signer: &Signer) {
        self.script.lock().unwrap().keys.push(signer.jwk());
    }

    /// Claims that are right for a login with this nonce, and changes of them; `null` takes a claim away.
    pub(super) fn claims(&self, nonce: &str, changes: &Value) -> Value {
        let now = clock::now().0;
        let mut claims = json!({
            "iss": self.issuer, "aud": "portcullis", "sub": "subject 7", "exp": now + 300, "iat": now,
            "nonce": nonce, "preferred_username": "dave", "groups": ["umbrella-owners"],
        });
        let fields = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            fields.insert(name.clone(), value.clone());
        }
        fields.retain(|_, value| !value.is_null());
        claims
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let mut reader = BufReader::new(&mut stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            // A client that does not trust it goes away.
            if !reader.read_line(&mut line).is_ok_and(|count| count > 0) {
                return;
            }
            head += &line;
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let text = self.respond(&head, &String::from_utf8(body).unwrap());
        // A client that has enough of it goes away.
        drop(stream.write_all(text.as_bytes()));
    }

    fn respond(&self, head: &str, body: &str) -> String {
        let mut script = self.script.lock().unwrap();
        script.asked.push(format!("{head}{body}"));
        let path = head.split(' ').nth(1).unwrap();
        if let Some((_, text)) = script.instead.iter().find(|(of, _)| *of == path) {
            return text.clone();
        }
        let issuer = &self.issuer;
        let value = match path {
            "/.well-known/openid-configuration" => json!({
                "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"),
                "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
            }),
            "/keys" => json!({ "keys": script.keys }),
            "/token" => json!({ "access_token": "x", "token_type": "Bearer", "id_token": script.token }),
            other => panic!("asked for {other}"),
        };
        ok(&value.to_string())
    }
}

/// An answer with this body.
pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
