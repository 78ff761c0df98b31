//! What is read again, what is not, and that cutting a file changes nothing.

use std::fmt::Write as _;

use super::*;
use crate::domain::fault::describe;
use crate::domain::token::TokenFormat;
use crate::policy::upstream::{ClassicTokens, UpstreamSpec};

fn inputs(directory: &Path) -> Inputs {
    let upstream = UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["*".into()],
        path_prefix: None,
        catalogs: vec!["git".into()],
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    };
    fs::create_dir_all(directory.join("tokens")).unwrap();
    Inputs { directory: directory.into(), upstreams: vec![upstream], format: TokenFormat::default() }
}

fn line(number: usize) -> String {
    format!(
        "{{\"name\": \"t{number}\", \"sha256\": \"{number:064x}\", \"user\": \"bob\", \"resource_owner\": \"acme\", \
         \"repositories\": \"all\", \"permissions\": {{\"contents\": \"read\"}}, \"expires_at\": \"2999-01-31\"}}\n"
    )
}

fn yaml(numbers: std::ops::Range<usize>) -> String {
    numbers.fold("tokens:\n".into(), |text, number| text + "  - " + &line(number))
}

fn files(loaded: &Loaded) -> Vec<(String, usize)> {
    let name = |file: &Arc<TokenFile>| file.path().file_name().unwrap().to_str().unwrap().to_owned();
    loaded.files.iter().map(|file| (name(file), file.len())).collect()
}

#[test]
fn only_what_has_changed_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(directory.path());
    let tokens = directory.path().join("tokens");
    fs::write(tokens.join("a.yaml"), yaml(0..3)).unwrap();
    fs::write(tokens.join("b.jsonl"), line(10) + &line(11)).unwrap();
    let mut loader = Loader::default();
    let first = loader.load(&inputs, Effort::Whole).unwrap();
    assert_eq!(files(&first), [("a.yaml".to_owned(), 3), ("b.jsonl".to_owned(), 2)]);
    let again = loader.load(&inputs, Effort::Aside).unwrap();
    assert_eq!(again.texts, first.texts);
    assert!(again.files.iter().zip(&first.files).all(|(one, other)| Arc::ptr_eq(one, other)));

    fs::write(tokens.join("b.jsonl"), line(12)).unwrap();
    let changed = loader.load(&inputs, Effort::Aside).unwrap();
    assert_ne!(changed.texts, first.texts);
    assert!(Arc::ptr_eq(&changed.files[0], &first.files[0]));
    assert_eq!(files(&changed)[1], ("b.jsonl".to_owned(), 1));
    assert_eq!(changed.into_snapshot(&inputs, 1, Effort::Aside).unwrap().tokens.len(), 4);

    fs::rename(tokens.join("b.jsonl"), tokens.join("c.jsonl")).unwrap();
    assert_eq!(files(&loader.load(&inputs, Effort::Aside).unwrap())[1].0, "c.jsonl");
}

/// Permissions are numbers of a vocabulary; under another one they would be others.
#[test]
fn another_vocabulary_compiles_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut inputs = inputs(directory.path());
    fs::write(directory.path().join("tokens/a.jsonl"), line(1)).unwrap();
    let mut loader = Loader::default();
    let first = loader.load(&inputs, Effort::Aside).unwrap();
    inputs.upstreams[0].catalogs.insert(0, "github".into());
    let second = loader.load(&inputs, Effort::Aside).unwrap();
    assert!(!Arc::ptr_eq(&second.files[0], &first.files[0]));
    let snapshot = second.into_snapshot(&inputs, 1, Effort::Aside).unwrap();
    let part = snapshot.tokens.grants().next().unwrap().parts().next().unwrap();
    let held: Vec<_> =
        part.permissions.iter().map(|(id, level)| (snapshot.vocabulary.name(id), level)).collect();
    assert!(held.iter().any(|(name, _)| *name == "contents"), "{held:?}");
    // An older snapshot has its own.
    let first = first.into_snapshot(&inputs, 1, Effort::Aside).unwrap();
    let part = first.tokens.grants().next().unwrap().parts().next().unwrap();
    assert!(part.permissions.iter().all(|(id, _)| first.vocabulary.permission(id).is_some()));
}

#[test]
fn a_file_with_a_fault_is_not_taken_for_known() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(directory.path());
    let file = directory.path().join("tokens/a.jsonl");
    fs::write(&file, line(1).replace("contents", "content")).unwrap();
    let mut loader = Loader::default();
    for _ in 0..2 {
        let read = loader.load(&inputs, Effort::Aside).unwrap();
        let text = describe(&read.into_snapshot(&inputs, 1, Effort::Aside).unwrap_err());
        assert!(text.contains("a.jsonl:1:") && text.contains("unknown permission `content`"), "{text}");
    }
    fs::write(&file, "\n".to_owned() + &line(1) + &line(1)).unwrap();
    let text = describe(
        &loader.load(&inputs, Effort::Aside).unwrap().into_snapshot(&inputs, 1, Effort::Aside).unwrap_err(),
    );
    assert!(
        text.contains("a.jsonl:3:26: this digest stands at") && text.contains("a.jsonl:2 already"),
        "{text}"
    );
}

/// Lines across the borders of what is read at once, a last one without an end, blank ones between.
#[test]
fn lines_are_whole_wherever_a_file_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(directory.path());
    let count = usize::try_from(KEPT + 2 * PIECE).unwrap() / line(10_000).len();
    let mut text = String::new();
    for number in 0..count {
        write!(text, "{}{}", line(number), if number % 100 == 0 { "\r\n" } else { "" }).unwrap();
    }
    fs::write(directory.path().join("tokens/a.jsonl"), text.trim_end()).unwrap();
    let loaded = Loader::default().load(&inputs, Effort::Whole).unwrap();
    assert!(loaded.streamed);
    let snapshot = loaded
        .into_snapshot(&inputs, 1, Effort::Aside)
        .unwrap_or_else(|faults| panic!("{}", describe(&faults)));
    assert_eq!(snapshot.tokens.len(), count);
    let names = snapshot.tokens.grants().map(|grant| grant.name().to_owned());
    assert!(names.eq((0..count).map(|number| format!("t{number}"))));
}

#[test]
fn what_is_no_text_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(directory.path());
    let file = directory.path().join("tokens/a.jsonl");
    for (bytes, want) in [
        (b"\xff\n".to_vec(), "cannot be read: stream did not contain valid UTF-8"),
        (
            [vec![b'\n'; usize::try_from(KEPT).unwrap()], vec![0xff]].concat(),
            "cannot be read: the text is not UTF-8",
        ),
        (vec![b'x'; LONGEST_LINE + 1], "cannot be read: a line is longer than 16 MiB"),
    ] {
        fs::write(&file, bytes).unwrap();
        let faults = Loader::default().load(&inputs, Effort::Aside).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.starts_with(want), "{}", faults[0]);
    }
}

#[test]
fn many_files_come_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = inputs(directory.path());
    for file in 0..40 {
        let text = yaml(file * 100..file * 100 + 1 + file % 7);
        fs::write(directory.path().join(format!("tokens/{file:02}.yaml")), text).unwrap();
    }
    let loaded = Loader::default().load(&inputs, Effort::Whole).unwrap();
    let want: Vec<_> = (0..40).map(|file| (format!("{file:02}.yaml"), 1 + file % 7)).collect();
    assert_eq!(files(&loaded), want);
}
