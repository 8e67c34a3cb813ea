//! The two halves of an import: a thread that reads and checks the file, and the storing of what it gives, piece by piece.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{RowProblem, RowProblemKind},
    feedback::{Feedback, FeedbackSource, Judgement},
    ids::{FeedbackId, ModelId, UserId},
};
use tb_data::{
    files::{sha256_bytes, sync_dir},
    import::{
        self, Flow,
        feedback::{Defaults, Given},
        moment,
    },
};
use tb_db::{
    Tx,
    feedback::{Inserted, sums::Sums},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{problems_folder, seen::Seen};
use crate::{
    Actor, Ctx,
    ctx::now_ms,
    feedback::{correction_distance, types::ImportedFeedback},
    people,
};

/// Rows of one transaction.
const PIECE_ROWS: usize = 500;
/// Bytes of texts after which a piece is whole, however few its rows.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces that wait to be stored.
const PIECES_AHEAD: usize = 2;
/// Problems that are told at once.
const TOLD: usize = 100;
/// Ids of models and users whose look-up is remembered.
const MOST_IDS: usize = 100_000;

/// A row of the file, ready to be stored.
pub(super) struct Ready {
    line: u64,
    row: Feedback,
    /// Of what makes it the same row when it comes again: its own id or key, else all that it says.
    fingerprint: u64,
}

/// Some rows of the file, in its order.
pub(super) type Piece = Vec<Result<Ready, RowProblem>>;

/// Starts to read a file. The last value ends with the reading.
pub(super) fn read(
    path: PathBuf,
    defaults: Defaults,
) -> (PathBuf, mpsc::Receiver<Piece>, impl Future<Output = Result<(), ApiError>>) {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    let file = path.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut piece, mut bytes) = (Piece::new(), 0);
        import::feedback::read(&file, &defaults, &mut |given| {
            piece.push(given.map(|given| {
                bytes += texts_bytes(&given.judgement);
                ready(given)
            }));
            if piece.len() < PIECE_ROWS && bytes < PIECE_BYTES {
                return Flow::More;
            }
            bytes = 0;
            // Nobody takes it any more: the import was given up.
            match pieces.blocking_send(std::mem::take(&mut piece)) {
                Ok(()) => Flow::More,
                Err(_) => Flow::Stop,
            }
        })?;
        pieces.blocking_send(piece).ok();
        Ok(())
    });
    let ended = async {
        reading
            .await
            .unwrap_or_else(|e| Err(ApiError::new(ErrorCode::Internal, format!("the reading was cut off: {e}"))))
    };
    (path, receiver, ended)
}

fn texts_bytes(said: &Judgement) -> usize {
    let more = [&said.corrected_text, &said.critique].into_iter().flatten().map(String::len).sum::<usize>();
    said.input_text.len() + said.output_text.len() + more + said.choice.as_ref().map_or(0, |c| c.other_text.len())
}

/// Makes a row of what the file gives. A row of this program keeps its id, its source and its key, or its lack of one; any other
/// gets a key made of all that it says, so that the same row is the same in every file and at every line.
fn ready(given: Given) -> Ready {
    let own_id = given.id.is_some();
    let mut row = Feedback {
        id: given.id.unwrap_or_else(new_id),
        user_id: given.user_id,
        feedback_type: given.feedback_type,
        source: given.source.unwrap_or(FeedbackSource::Import),
        project_id: given.project_id,
        item_id: given.item_id,
        correction_distance: correction_distance(
            &given.judgement.output_text,
            given.judgement.corrected_text.as_deref(),
        ),
        judgement: given.judgement,
        idempotency_key: given.idempotency_key,
        created_at_ms: given.created_at_ms.unwrap_or_else(now_ms),
        withdrawn_at_ms: given.withdrawn.as_ref().map(|(at_ms, _)| *at_ms),
        withdrawn_reason: given.withdrawn.map(|(_, reason)| reason),
    };
    if !own_id && row.idempotency_key.is_none() {
        let said = serde_json::to_vec(&(&row.user_id, &row.judgement, given.created_at_ms));
        let said = said.expect("a judgement is texts and numbers and always becomes JSON");
        row.idempotency_key = Some(format!("import:{}", sha256_bytes(&said)));
    }
    let name = row.idempotency_key.as_deref().unwrap_or(row.id.as_str());
    let digest = Sha256::digest(name);
    let fingerprint = u64::from_le_bytes(std::array::from_fn(|i| digest[i]));
    Ready { line: given.line, row, fingerprint }
}

fn new_id() -> FeedbackId {
    FeedbackId::from_uuid(Uuid::now_v7())
}

/// Whether rows are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are.
    Store,
    /// They are only looked at.
    Look,
}

/// What became of a row.
enum Became {
    Stored,
    Known,
    Problem(RowProblem),
}

/// An import under way.
pub(super) struct Storing<'c> {
    ctx: &'c Ctx,
    mode: Mode,
    seen: Seen,
    /// Ids of rows that this import stores are later than this one.
    first_id: FeedbackId,
    models: HashMap<ModelId, bool>,
    users: HashMap<UserId, bool>,
    problems: Problems,
    stored: u64,
    known: u64,
}

impl<'c> Storing<'c> {
    pub fn new(ctx: &'c Ctx, mode: Mode) -> Self {
        Self {
            ctx,
            mode,
            seen: Seen::default(),
            first_id: new_id(),
            models: HashMap::new(),
            users: HashMap::new(),
            problems: Problems::new(problems_folder(ctx)),
            stored: 0,
            known: 0,
        }
    }

    /// Stores a piece whole, or nothing of it.
    pub async fn take(&mut self, piece: Piece) -> Result<(), ApiError> {
        let mut checked = Vec::with_capacity(piece.len());
        for row in piece {
            checked.push(match row {
                Ok(ready) => match self.unknown_reference(&ready).await? {
                    None => Ok(ready),
                    Some(reason) => Err(problem(&ready, RowProblemKind::WrongType, reason)),
                },
                Err(problem) => Err(problem),
            });
        }
        let became = match self.mode {
            Mode::Store => self.store(checked).await?,
            Mode::Look => self.look(checked).await?,
        };
        // Counted only now: a piece that was not committed became nothing.
        for became in became {
            match became {
                Became::Stored => self.stored += 1,
                Became::Known => self.known += 1,
                Became::Problem(problem) => self.problems.add(problem)?,
            }
        }
        Ok(())
    }

    async fn store(&mut self, piece: Piece) -> Result<Vec<Became>, ApiError> {
        let mut became = Vec::with_capacity(piece.len());
        let mut tx = self.ctx.db().begin().await?;
        let mut sums = Sums::default();
        for row in piece {
            became.push(match row {
                Ok(ready) => self.store_row(&mut tx, &mut sums, ready).await?,
                Err(problem) => Became::Problem(problem),
            });
        }
        sums.write(&mut tx).await?;
        tx.commit().await?;
        Ok(became)
    }

    async fn store_row(&mut self, tx: &mut Tx, sums: &mut Sums, ready: Ready) -> Result<Became, ApiError> {
        let earlier = self.seen.line(ready.fingerprint);
        let stored = match tb_db::feedback::insert(tx, &ready.row, sums).await {
            Ok(Inserted::New) => {
                self.seen.add(ready.fingerprint, ready.line);
                return Ok(Became::Stored);
            }
            Ok(Inserted::Before(stored)) => stored,
            Err(tb_db::Error::Taken { .. }) => {
                let reason = match earlier {
                    Some(line) => format!("line {line} has other content under the same key or id"),
                    None => "other feedback is stored under its key or id".to_owned(),
                };
                return Ok(Became::Problem(problem(&ready, RowProblemKind::Duplicate, reason)));
            }
            Err(error) => return Err(error.into()),
        };
        // Of a very long file, what is no longer remembered is told by the time of its id.
        let is_of_now = stored.id > self.first_id && ready.row.id != stored.id;
        Ok(self.came_again(&ready, earlier, is_of_now))
    }

    async fn look(&mut self, piece: Piece) -> Result<Vec<Became>, ApiError> {
        let mut became = Vec::with_capacity(piece.len());
        for row in piece {
            let ready = match row {
                Ok(ready) => ready,
                Err(problem) => {
                    became.push(Became::Problem(problem));
                    continue;
                }
            };
            let stored = match ready.row.idempotency_key.as_deref() {
                Some(key) => tb_db::feedback::by_key(self.ctx.db(), key).await?,
                None => tb_db::feedback::get(self.ctx.db(), &ready.row.id).await?,
            };
            let earlier = self.seen.line(ready.fingerprint);
            became.push(match stored {
                Some(stored) if stored.judgement != ready.row.judgement || stored.user_id != ready.row.user_id => {
                    let reason = "other feedback is stored under its key or id";
                    Became::Problem(problem(&ready, RowProblemKind::Duplicate, reason.to_owned()))
                }
                Some(_) => self.came_again(&ready, earlier, false),
                None if earlier.is_some() => self.came_again(&ready, earlier, false),
                None => {
                    self.seen.add(ready.fingerprint, ready.line);
                    Became::Stored
                }
            });
        }
        Ok(became)
    }

    /// A row that is there already: from this file, or from before.
    fn came_again(&mut self, ready: &Ready, earlier: Option<u64>, is_of_now: bool) -> Became {
        let reason = match earlier {
            Some(line) => format!("the same content as line {line}"),
            None if is_of_now => "the same content as an earlier line".to_owned(),
            None => {
                self.seen.add(ready.fingerprint, ready.line);
                return Became::Known;
            }
        };
        Became::Problem(problem(ready, RowProblemKind::Duplicate, reason))
    }

    /// What the row names and there is not.
    async fn unknown_reference(&mut self, ready: &Ready) -> Result<Option<String>, ApiError> {
        let said = &ready.row.judgement;
        let other = said.choice.as_ref().and_then(|choice| choice.other_model_id.as_ref());
        for id in said.model_id.iter().chain(other) {
            if !self.has_model(id).await? {
                return Ok(Some(format!("there is no model {id} here")));
            }
        }
        match &ready.row.user_id {
            Some(id) if !self.has_user(id).await? => Ok(Some(format!("there is no user {id} here"))),
            Some(_) | None => Ok(None),
        }
    }

    async fn has_model(&mut self, id: &ModelId) -> Result<bool, ApiError> {
        if let Some(known) = self.models.get(id) {
            return Ok(*known);
        }
        let known = tb_db::models::get(self.ctx.db(), id).await?.is_some();
        if self.models.len() < MOST_IDS {
            self.models.insert(id.clone(), known);
        }
        Ok(known)
    }

    async fn has_user(&mut self, id: &UserId) -> Result<bool, ApiError> {
        if let Some(known) = self.users.get(id) {
            return Ok(*known);
        }
        let mut known = tb_db::users::get(self.ctx.db(), id).await?.is_some();
        if !known && *id == people::owner_id() {
            // The owner has this id in every home, and a row as soon as one is needed.
            if self.mode == Mode::Store {
                let mut tx = self.ctx.db().begin().await?;
                people::in_database(&mut tx, &Actor::local()).await?;
                tx.commit().await?;
            }
            known = true;
        }
        if self.users.len() < MOST_IDS {
            self.users.insert(id.clone(), known);
        }
        Ok(known)
    }

    /// The end of the import.
    pub fn done(self) -> Result<ImportedFeedback, ApiError> {
        let Problems { num, told, list, .. } = self.problems;
        let problems_path = list.map(Listed::finish).transpose()?;
        Ok(ImportedFeedback {
            stored: self.stored,
            known: self.known,
            num_problems: num,
            problems_path,
            problems: told,
        })
    }

    /// The error of an import that did not come to its end, with what was kept.
    pub fn cut_off(&self, path: &Path, error: ApiError) -> ApiError {
        if self.stored + self.known == 0 || self.mode == Mode::Look {
            return ApiError::new(error.code, format!("Nothing was imported: {}", error.message)).hint(error.hint);
        }
        let kept = format!("The import of {} broke off: {}", path.display(), error.message);
        ApiError::new(error.code, format!("{kept} {} rows are stored.", self.stored + self.known))
            .hint("Run the same import again: it goes on where it stopped.")
    }
}

fn problem(ready: &Ready, kind: RowProblemKind, reason: String) -> RowProblem {
    import::problem(ready.line, kind, reason, &ready.row.judgement.input_text)
}

/// The rows that cannot be used: all of them in a file, the first of them to be told at once.
struct Problems {
    folder: PathBuf,
    num: u64,
    told: Vec<RowProblem>,
    list: Option<Listed>,
}

struct Listed {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Problems {
    fn new(folder: PathBuf) -> Self {
        Self { folder, num: 0, told: Vec::new(), list: None }
    }

    fn add(&mut self, problem: RowProblem) -> Result<(), ApiError> {
        let list = match &mut self.list {
            Some(list) => list,
            None => self.list.insert(Listed::begin(&self.folder)?),
        };
        let line = serde_json::to_string(&problem).expect("a problem is texts and a number and always becomes JSON");
        writeln!(list.file, "{line}").map_err(|e| unwritable(&list.path, &e))?;
        self.num += 1;
        if self.told.len() < TOLD {
            self.told.push(problem);
        }
        Ok(())
    }
}

impl Listed {
    fn begin(folder: &Path) -> Result<Self, ApiError> {
        fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        // Imports of the same millisecond take the names of later ones.
        let mut at_ms = now_ms();
        loop {
            // No system refuses a name without colons.
            let path = folder.join(format!("{}-problems.jsonl", moment::text(at_ms).replace(':', "-")));
            match File::create_new(&path) {
                Ok(file) => return Ok(Self { path, file: BufWriter::new(file) }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => at_ms += 1,
                Err(e) => return Err(unwritable(&path, &e)),
            }
        }
    }

    fn finish(self) -> Result<PathBuf, ApiError> {
        let Self { path, file } = self;
        let file = file.into_inner().map_err(|e| unwritable(&path, e.error()))?;
        file.sync_all().map_err(|e| unwritable(&path, &e))?;
        if let Some(folder) = path.parent() {
            sync_dir(folder)?;
        }
        Ok(path)
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> ApiError {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
        _ => ErrorCode::Unavailable,
    };
    ApiError::new(code, format!("The list of problems {} cannot be written: {error}.", path.display()))
}
