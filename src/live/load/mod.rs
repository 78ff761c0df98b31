//! Reads the files of a policy directory and compiles them.
//!
//! What tokens files hold is compiled straight off the disk, some lines at a time, on several threads where that is
//! wanted. A file that says what it said before is not compiled again: it is known by its digest, every byte of which
//! is read each time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use aws_lc_rs::digest::{Context, SHA256};

use crate::domain::fault::Fault;
use crate::domain::permission::Vocabulary;
use crate::live::Inputs;
use crate::live::files::{self, FILE_LIMIT, PolicyFile, Stamp};
use crate::policy::compile::{Frame, Kind, Source};
use crate::policy::grants::packed::{Packer, TokenFile};
use crate::policy::snapshot::Snapshot;
use crate::policy::tokens::{TokenCompiler, TokenForm};

/// How much of a file is read at once, bytes.
const PIECE: u64 = 1 << 18;

/// The longest line of a file of JSON lines, bytes.
const LONGEST_LINE: usize = 16 << 20;

/// How much text of tokens is kept while it is compiled, bytes.
const KEPT: u64 = 16 << 20;

/// How often files that change while they are read are read again.
const ATTEMPTS: usize = 5;

/// SHA-256 of a file's text, or over the names and digests of some files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextDigest([u8; 32]);

/// Reads policy files, and knows those that it has read before.
#[derive(Debug, Default)]
pub struct Loader {
    /// What the tokens were compiled with.
    vocabulary: Vocabulary,
    /// By name, those without a fault.
    known: HashMap<String, (TextDigest, Arc<TokenFile>)>,
}

/// How much of the machine compiling takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// One thread, which lets others go first again and again: they have work to do.
    Aside,
    /// As many threads as there are processors.
    Whole,
}

impl Effort {
    /// Lets others go first. Of two threads with work the kernel lets one go on for milliseconds, even where the other one
    /// has waited for its work and is more important.
    fn pause(self) {
        if self == Self::Aside {
            thread::yield_now();
        }
    }
}

/// What the files say, compiled.
#[derive(Debug)]
pub struct Loaded {
    frame: Frame,
    files: Vec<Arc<TokenFile>>,
    /// Tells whether the files say what others said.
    pub texts: TextDigest,
    /// Whether some files were read while others were compiled already.
    streamed: bool,
}

impl Loaded {
    /// One snapshot.
    ///
    /// # Errors
    /// All faults of all files.
    pub fn into_snapshot(
        self,
        inputs: &Inputs,
        generation: u64,
        effort: Effort,
    ) -> Result<Snapshot, Vec<Fault>> {
        let text = |path: &Path| fs::read_to_string(path).ok();
        self.frame.with_tokens(self.files, (&inputs.format, generation), text, || effort.pause())
    }
}

/// Policy files as they were at one moment, before anything is compiled.
#[derive(Debug)]
struct Texts {
    files: Vec<PolicyFile>,
    /// Those that declare no tokens.
    sources: Vec<Source>,
    /// Those that declare tokens and take little room; the others are read while they are compiled.
    of_tokens: HashMap<String, String>,
}

impl Texts {
    fn read(directory: &Path) -> Result<Self, Vec<Fault>> {
        let mut texts =
            Self { files: files::list(directory)?, sources: Vec::new(), of_tokens: HashMap::new() };
        let (mut faults, mut left) = (Vec::new(), KEPT);
        for file in &texts.files {
            let declares_tokens = Kind::of(&file.name).and_then(Kind::tokens).is_some();
            if declares_tokens {
                match left.checked_sub(file.length) {
                    Some(less) => left = less,
                    None => continue,
                }
            }
            match fs::read_to_string(&file.path) {
                Ok(text) if declares_tokens => drop(texts.of_tokens.insert(file.name.clone(), text)),
                Ok(text) => {
                    texts.sources.push(Source { name: file.name.clone(), file: file.path.clone(), text });
                }
                Err(error) => faults.push(cannot_be_read(file, &error)),
            }
        }
        if faults.is_empty() { Ok(texts) } else { Err(faults) }
    }
}

impl Loader {
    /// Reads and compiles the files of `inputs`.
    ///
    /// # Errors
    /// Every file or folder that cannot be read.
    pub fn load(&mut self, inputs: &Inputs, effort: Effort) -> Result<Loaded, Vec<Fault>> {
        self.compile(Texts::read(&inputs.directory)?, inputs, effort)
    }

    /// What [`Self::load`] gives, and the stamps of what was read. `None` where the files changed while they were read,
    /// each time anew: what was read may be half of one policy and half of the next one.
    #[expect(clippy::type_complexity, reason = "read once, at both places that call it")]
    pub fn load_at_rest(
        &mut self,
        inputs: &Inputs,
        effort: Effort,
    ) -> Option<(Vec<Stamp>, Result<Loaded, Vec<Fault>>)> {
        let mut before = files::stamps(&inputs.directory);
        for _ in 0..ATTEMPTS {
            let texts = Texts::read(&inputs.directory);
            let mut after = files::stamps(&inputs.directory);
            if before == after {
                let loaded = texts.and_then(|texts| self.compile(texts, inputs, effort));
                // Only large files are read while others are compiled already, which takes its time.
                if !loaded.as_ref().is_ok_and(|loaded| loaded.streamed) {
                    return Some((after, loaded));
                }
                after = files::stamps(&inputs.directory);
                if before == after {
                    return Some((after, loaded));
                }
            }
            before = after;
        }
        None
    }

    fn compile(&mut self, texts: Texts, inputs: &Inputs, effort: Effort) -> Result<Loaded, Vec<Fault>> {
        let Texts { files, sources, mut of_tokens } = texts;
        let of_source = |source: &Source| digest(|context| context.update(source.text.as_bytes()));
        let mut digests: HashMap<_, _> =
            sources.iter().map(|source| (source.name.clone(), of_source(source))).collect();
        let mut frame = Frame::compile(&sources, &inputs.upstreams);
        let mut known = std::mem::take(&mut self.known);
        if self.vocabulary != *frame.vocabulary() {
            self.vocabulary = frame.vocabulary().clone();
            known.clear();
        }
        let mut jobs = Vec::new();
        for file in &files {
            let Some(form) = Kind::of(&file.name).and_then(Kind::tokens) else { continue };
            let (text, known) = (of_tokens.remove(&file.name), known.remove(&file.name));
            jobs.push(Job { file, form, text, known });
        }
        let (mut compiled, mut unreadable) = (Vec::new(), Vec::new());
        for (job, done) in jobs.iter().zip(run(&jobs, &self.vocabulary, effort)) {
            match done {
                Ok((text, file, faults)) => {
                    if faults.is_empty() {
                        self.known.insert(job.file.name.clone(), (text, Arc::clone(&file)));
                    }
                    digests.insert(job.file.name.clone(), text);
                    frame.fault(faults);
                    compiled.push(file);
                }
                Err(error) => unreadable.push(cannot_be_read(job.file, &error)),
            }
        }
        let streamed = jobs.iter().any(|job| job.text.is_none());
        let texts = digest(|context| {
            for PolicyFile { name, .. } in &files {
                context.update(&name.len().to_le_bytes());
                context.update(name.as_bytes());
                context.update(&digests.get(name).map_or([0; 32], |digest| digest.0));
            }
        });
        if !unreadable.is_empty() {
            return Err(unreadable);
        }
        Ok(Loaded { frame, files: compiled, texts, streamed })
    }
}

fn cannot_be_read(file: &PolicyFile, error: &io::Error) -> Fault {
    Fault::of_file(&file.path, format!("cannot be read: {error}"))
}

fn digest(feed: impl FnOnce(&mut Context)) -> TextDigest {
    let mut context = Context::new(&SHA256);
    feed(&mut context);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    TextDigest(bytes)
}

/// A file of tokens, and what it was when it was read last.
struct Job<'f> {
    file: &'f PolicyFile,
    form: TokenForm,
    /// What it says; `None` where that is still to be read.
    text: Option<String>,
    known: Option<(TextDigest, Arc<TokenFile>)>,
}

type Done = io::Result<(TextDigest, Arc<TokenFile>, Vec<Fault>)>;

/// Does `jobs`, the largest files first, and gives what became of them in their order.
fn run(jobs: &[Job<'_>], vocabulary: &Vocabulary, effort: Effort) -> Vec<Done> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(jobs.get(*at).map(|job| job.file.length)));
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || order.get(next.fetch_add(1, Ordering::Relaxed));
        let (mut done, mut packer) = (Vec::new(), Packer::default());
        while let Some(at) = take() {
            done.extend(jobs.get(*at).map(|job| (*at, job.run(vocabulary, &mut packer, effort))));
        }
        done
    };
    let processors = match effort {
        Effort::Aside => 1,
        Effort::Whole => thread::available_parallelism().map_or(1, usize::from),
    };
    let mut done = thread::scope(|scope| {
        // Where no thread can be had, the others do its work.
        let spawn = |_| thread::Builder::new().name("policy".into()).spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..processors.min(jobs.len())).filter_map(spawn).collect();
        let mut done = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}

impl Job<'_> {
    fn run(&self, vocabulary: &Vocabulary, packer: &mut Packer, effort: Effort) -> Done {
        let said = self.text.as_ref().map(|text| digest(|context| context.update(text.as_bytes())));
        if let Some((text, known)) = &self.known {
            let now = said.map_or_else(|| self.read(|_| {}, effort), Ok)?;
            if now == *text {
                return Ok((now, Arc::clone(known), Vec::new()));
            }
        }
        let mut compiler = TokenCompiler::new(self.file.path.clone(), vocabulary, packer);
        let text = match (&self.text, said, self.form) {
            (Some(text), Some(said), form) => {
                compiler.take(form, text);
                said
            }
            (_, _, TokenForm::Document) => {
                let text = fs::read_to_string(&self.file.path)?;
                compiler.take(self.form, &text);
                digest(|context| context.update(text.as_bytes()))
            }
            (_, _, TokenForm::Lines) => {
                let mut lines = Lines { pending: Vec::new(), compiler: &mut compiler, fault: None };
                let text = self.read(|piece| lines.take(piece), effort)?;
                lines.end();
                lines.fault.take().map_or(Ok(text), Err)?
            }
        };
        let (file, faults) = compiler.finish();
        Ok((text, Arc::new(file), faults))
    }

    /// The digest of the file, whose bytes `take` gets piece by piece.
    fn read(&self, mut take: impl FnMut(&[u8]), effort: Effort) -> io::Result<TextDigest> {
        let mut file = File::open(&self.file.path)?.take(FILE_LIMIT);
        let mut piece = Vec::new();
        let mut failed = None;
        let digest = digest(|context| {
            loop {
                piece.clear();
                match file.by_ref().take(PIECE).read_to_end(&mut piece) {
                    Ok(0) => return,
                    Ok(_) => {
                        context.update(&piece);
                        take(&piece);
                        effort.pause();
                    }
                    Err(error) => return failed = Some(error),
                }
            }
        });
        failed.map_or(Ok(digest), Err)
    }
}

/// Cuts a file into whole lines.
struct Lines<'c, 'v> {
    /// The beginning of a line.
    pending: Vec<u8>,
    compiler: &'c mut TokenCompiler<'v>,
    fault: Option<io::Error>,
}

impl Lines<'_, '_> {
    fn take(&mut self, piece: &[u8]) {
        let end = memchr::memrchr(b'\n', piece).map_or(0, |at| at + 1);
        let (whole, rest) = piece.split_at_checked(end).unwrap_or((&[], piece));
        if !whole.is_empty() {
            self.pending.extend_from_slice(whole);
            self.end();
        }
        self.pending.extend_from_slice(rest);
        if self.pending.len() > LONGEST_LINE {
            let message = "a line is longer than 16 MiB; declare this token in a file of YAML";
            self.fault = self.fault.take().or_else(|| Some(io::Error::other(message)));
        }
    }

    /// What is pending ends here.
    fn end(&mut self) {
        if self.fault.is_none() {
            match str::from_utf8(&self.pending) {
                Ok(text) => self.compiler.take(TokenForm::Lines, text),
                Err(_) => self.fault = Some(io::Error::other("the text is not UTF-8")),
            }
        }
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests;
