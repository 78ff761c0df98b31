//! What is read, what is refused, and what is said then.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    port: Spanned<u16>,
    on: Option<Spanned<bool>>,
    #[serde(default)]
    names: Vec<Spanned<String>>,
    form: Option<Form>,
    loose: Option<Spanned<Loose>>,
    tls: Option<Spanned<OneOrMany<Pair>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    key: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Form {
    Off,
    File(Spanned<String>),
    Socket { path: Spanned<String> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Loose {
    Text(Spanned<String>),
    List(Vec<Spanned<String>>),
}

#[track_caller]
fn read<T: DeserializeOwned>(text: &str) -> T {
    parse(Path::new("a.yaml"), text).unwrap()
}

/// `want` is `line:column: message`.
#[track_caller]
fn check<T: DeserializeOwned + Debug>(text: &str, want: &str) {
    let fault = parse::<T>(Path::new("a.yaml"), text).expect_err(text);
    let Place { line, column } = fault.place;
    assert_eq!(format!("{line}:{column}: {}", fault.message), want, "{text}");
    assert_eq!(fault.text, text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap_or_default());
}

fn at(line: u64, column: u64) -> Place {
    Place { line, column }
}

#[test]
fn places() {
    let document: Document = read("port: 1\non: true\nnames:\n  - ä\n  - b\nform: {file: x}\n");
    assert_eq!((document.port.value, place(&document.port)), (1, at(1, 7)));
    let on = document.on.unwrap();
    assert_eq!((on.value, place(&on)), (true, at(2, 5)));
    assert_eq!(document.names.iter().map(place).collect::<Vec<_>>(), [at(4, 5), at(5, 5)]);
    let Some(Form::File(file)) = document.form else { panic!("{:?}", document.form) };
    assert_eq!(place(&file), at(6, 14));

    let Some(Form::Socket { path }) = read::<Document>("port: 1\nform:\n  socket:\n    path: x\n").form
    else {
        panic!("no socket")
    };
    assert_eq!((path.value.as_str(), place(&path)), ("x", at(4, 11)));
    assert!(matches!(read::<Document>("port: 1\nform: off\n").form, Some(Form::Off)));
}

#[test]
fn untagged_enums_lose_the_places_inside() {
    let loose = read::<Document>("port: 1\nloose: a\n").loose.unwrap();
    assert_eq!(place(&loose), at(2, 8));
    let Loose::Text(inner) = loose.value else { panic!("no text") };
    assert_eq!(place(&inner), at(0, 0));

    let loose = read::<Document>("port: 1\nloose: [a]\n").loose.unwrap();
    let Loose::List(inner) = loose.value else { panic!("no list") };
    assert_eq!(place(&inner[0]), at(0, 0));
}

#[test]
fn one_or_many_keep_the_places_inside() {
    let keys = |text: &str| {
        let tls = read::<Document>(text).tls.unwrap();
        tls.value.0.iter().map(|pair| place(&pair.key)).collect::<Vec<_>>()
    };
    assert_eq!(keys("port: 1\ntls: { key: a }\n"), [at(2, 13)]);
    assert_eq!(keys("port: 1\ntls:\n  - key: a\n  - key: b\n"), [at(3, 10), at(4, 10)]);
    check::<Document>("port: 1\ntls: { key: a, z: 1 }\n", "2:16: unknown field `z`; expected `key`");
    check::<Document>(
        "port: 1\ntls: { key: a, key: b }\n",
        "2:16: the key `key` stands twice in this mapping; remove one",
    );
}

#[test]
fn entries_keep_order_and_places() {
    let entries: Entries<u32> = read("b: 1\n'a b': 2\n");
    let seen: Vec<_> = entries
        .0
        .iter()
        .map(|(key, value)| (key.value.as_str(), place(key), value.value, place(value)))
        .collect();
    assert_eq!(seen, [("b", at(1, 1), 1, at(1, 4)), ("a b", at(2, 1), 2, at(2, 8))]);
    check::<Entries<u32>>("a: 1\n\"a\": 2\n", "2:1: the key `a` stands twice in this mapping; remove one");
    check::<Entries<u32>>("- a\n", "1:1: expected a mapping");
    check::<Entries<u32>>("a: 1\n[b]: 2\n", "2:1: expected a single value, not a list or a mapping");

    let values: BTreeMap<String, Spanned<u32>> = read("a: 1\nb: 2\n");
    assert_eq!(values.values().map(place).collect::<Vec<_>>(), [at(1, 4), at(2, 4)]);
    let keys: BTreeMap<Key, u32> = read("a: 1\nb: 2\n");
    assert_eq!(keys.into_keys().map(|key| place(&key.0)).collect::<Vec<_>>(), [at(1, 1), at(2, 1)]);
}

/// `Spanned` itself has no order.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Key(Spanned<String>);

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.value.cmp(&other.0.value)
    }
}

#[test]
fn faults_of_shape() {
    for (text, want) in [
        ("", "1:1: the file holds no document; expected a mapping of fields"),
        ("# only a comment\n", "2:1: the file holds no document; expected a mapping of fields"),
        ("---\n", "1:4: the document is empty; expected a mapping of fields"),
        ("null\n", "1:1: expected a mapping"),
        ("- a\n", "1:1: expected a mapping"),
        (
            "port: 1\nprot: 2\n",
            "2:1: unknown field `prot`; expected `port`, `on`, `names`, `form`, `loose` or `tls`",
        ),
        ("port: 1\nport: 2\n", "2:1: the key `port` stands twice in this mapping; remove one"),
        ("on: true\n", "1:1: the field `port` is missing in this mapping; add it"),
        ("port: 1\non: yes\n", "2:5: expected `true` or `false`"),
        ("port: 1\non: off\n", "2:5: expected `true` or `false`"),
    ] {
        check::<Document>(text, want);
    }
}

#[test]
fn faults_of_value() {
    for (text, want) in [
        ("port: http\n", "1:7: expected a whole number, not negative and not too large"),
        ("port: -1\n", "1:7: expected a whole number, not negative and not too large"),
        ("port: [1]\n", "1:7: expected a single value, not a list or a mapping"),
        ("port: 1\nnames: a\n", "2:8: expected a list"),
        (
            "port: 1\nnames: [null]\n",
            "2:9: expected a text; quote the word `null` where it is meant literally",
        ),
        ("port: 1\nform: on\n", "2:7: unknown word `on`; expected `off`, `file` or `socket`"),
        ("port: 1\nform: {on: 1}\n", "2:8: unknown word `on`; expected `off`, `file` or `socket`"),
        ("port: 1\nform: [off]\n", "2:7: expected one word, or a mapping with one field"),
        (
            "port: 1\nform: {file: a, socket: b}\n",
            "2:17: expected exactly one field in this mapping; remove the others",
        ),
        ("port: 1\nform: {socket: {x: 1}}\n", "2:17: unknown field `x`; expected `path`"),
        (
            "port: 1\nloose: {a: b}\n",
            "2:8: this has none of the forms that may stand here; check its fields and values",
        ),
        ("port: 1\ntls: a\n", "2:1: found string \"a\"; expected a mapping or a list of mappings"),
    ] {
        check::<Document>(text, want);
    }
}

#[test]
fn faults_of_yaml() {
    let anchors = "anchors and aliases (`&`, `*`) are not allowed; write the value out, or quote the text";
    for (text, want) in [
        ("port: &a 1\n", format!("1:10: {anchors}")),
        ("port: *a\n", format!("1:7: {anchors}")),
        ("<<: {on: true}\nport: 1\n", "1:1: merge keys (`<<`) are not allowed; write the fields out".into()),
        ("port: !mine 1\n", "1:13: the tag `!mine` is not allowed; remove it".into()),
        (
            "port: 1\n---\nport: 2\n",
            "2:1: a second document starts here; keep one document in a file and remove the `---`".into(),
        ),
        (
            "port:\n\t- 1\n",
            "2:2: not valid YAML: tabs disallowed within this context (block indentation)".into(),
        ),
        ("port: \"1\n", "1:7: not valid YAML: unclosed quote".into()),
    ] {
        check::<Document>(text, &want);
    }
    let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    check::<serde_json::Value>(&deep, "1:33: lists and mappings are nested too deeply; flatten them");
}

#[test]
fn binary_is_not_decoded() {
    assert_eq!(read::<Document>("port: 1\nnames: [!!binary YWxpY2U=]\n").names[0].value, "YWxpY2U=");
}
