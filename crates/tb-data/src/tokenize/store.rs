//! Rows of tokens on disk: written once, then mapped, so that a file of a million rows is there at once and costs memory only where
//! it is read. What a row's tokens are is `rendering`'s business; which file a store belongs to is its caller's, by a key.
//!
//! One file, little endian: a header, where each row begins, how many of its tokens carry loss, the ids (2 bytes each where all are
//! below 65,536, else 4), one bit per token that carries loss, notes as JSON, and last the digest of everything before it. The digest
//! is checked whenever a store is opened; a file that is damaged, or of another key or version, counts as none.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{IGNORED, targets};
use crate::{
    error::{Error, Result},
    files::sync_dir,
};

const MAGIC: &[u8; 8] = b"TBTOKENS";
/// Of the file's layout, and of how rows become tokens: a store of another number is made again.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 8 + 32;
const DIGEST_BYTES: usize = 32;
/// Bytes hashed by one thread at a time; the digest is that of the pieces' digests.
const PIECE_BYTES: usize = 4 << 20;
/// Stores kept in a folder.
const KEPT: usize = 12;

/// Rows of tokens in a mapped file.
#[derive(Debug)]
pub struct TokenStore {
    map: Mmap,
    rows: usize,
    width: IdWidth,
    offsets: usize,
    supervised: usize,
    ids: usize,
    mask: usize,
    notes: Vec<u8>,
}

/// Bytes of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdWidth {
    Two,
    Four,
}

impl IdWidth {
    fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// Rows on their way into a store.
#[derive(Debug)]
pub struct StoreBuilder {
    width: IdWidth,
    offsets: Vec<u64>,
    supervised: Vec<u32>,
    ids: Vec<u8>,
    mask: Vec<u8>,
}

impl StoreBuilder {
    /// An empty one for ids below `vocab_size`.
    #[must_use]
    pub fn new(vocab_size: usize) -> Self {
        let width = if vocab_size <= 1 << 16 { IdWidth::Two } else { IdWidth::Four };
        Self { width, offsets: vec![0], supervised: Vec::new(), ids: Vec::new(), mask: Vec::new() }
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.supervised.len()
    }

    /// Whether there is none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.supervised.is_empty()
    }

    /// Adds a row. A label is the id at its place or [`IGNORED`]; the first token is never learnt, so its label does not count.
    ///
    /// # Errors
    /// [`Error::BadMapping`] for a label that is neither, or an id that the vocabulary does not have.
    pub fn push(&mut self, ids: &[u32], labels: &[i32]) -> Result<()> {
        let bad = |reason: String| Err(Error::BadMapping { reason });
        if ids.len() != labels.len() {
            return bad(format!("a row has {} ids but {} labels", ids.len(), labels.len()));
        }
        let first = self.offsets.last().copied().unwrap_or(0);
        self.mask.resize((first as usize + ids.len()).div_ceil(8), 0);
        for (t, (id, label)) in ids.iter().zip(labels).enumerate() {
            match (self.width, u16::try_from(*id)) {
                (IdWidth::Four, _) => self.ids.extend_from_slice(&id.to_le_bytes()),
                (IdWidth::Two, Ok(id)) => self.ids.extend_from_slice(&id.to_le_bytes()),
                (IdWidth::Two, Err(_)) => return bad(format!("the token {id} is not in the vocabulary")),
            }
            if *label == IGNORED {
                continue;
            }
            if u32::try_from(*label) != Ok(*id) {
                return bad(format!("the label {label} at place {t} is neither {IGNORED} nor the token there ({id})"));
            }
            let bit = first as usize + t;
            self.mask[bit / 8] |= 1 << (bit % 8);
        }
        self.offsets.push(first + ids.len() as u64);
        self.supervised.push(targets(labels) as u32);
        Ok(())
    }

    /// Writes the store of `key` into `folder`, whole or not at all, and opens it. Older stores beyond a dozen are deleted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(self, folder: &Path, key: &str, notes: &[u8]) -> Result<TokenStore> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = path_of(folder, key);
        let temp = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = self.write_to(&temp, key, notes).and_then(|()| {
            fs::rename(&temp, &path).map_err(Error::io("write", &path))?;
            sync_dir(folder)
        });
        if written.is_err() {
            // Best effort: the error that counts is the first one.
            let _ = fs::remove_file(&temp);
        }
        written?;
        delete_oldest(folder, &path);
        open(folder, key)?.ok_or_else(|| Error::bad_file(path, "it is not what was just written to it"))
    }

    fn write_to(&self, path: &Path, key: &str, notes: &[u8]) -> Result<()> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut out =
            Hashing { out: BufWriter::with_capacity(1 << 20, file), piece: Sha256::new(), held: 0, all: Sha256::new() };
        let mut put = |bytes: &[u8]| out.put(bytes).map_err(Error::io("write", path));
        put(MAGIC)?;
        put(&VERSION.to_le_bytes())?;
        put(&(self.width.bytes() as u32).to_le_bytes())?;
        put(&(self.len() as u64).to_le_bytes())?;
        put(&self.offsets.last().copied().unwrap_or(0).to_le_bytes())?;
        put(&(notes.len() as u64).to_le_bytes())?;
        put(&Sha256::digest(key.as_bytes()))?;
        for offset in &self.offsets {
            put(&offset.to_le_bytes())?;
        }
        for supervised in &self.supervised {
            put(&supervised.to_le_bytes())?;
        }
        put(&self.ids)?;
        put(&self.mask)?;
        put(notes)?;
        let (mut buffered, digest) = out.end();
        buffered.write_all(&digest).map_err(Error::io("write", path))?;
        let file = buffered.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
        file.sync_all().map_err(Error::io("flush", path))
    }
}

/// Writes and hashes in pieces.
struct Hashing {
    out: BufWriter<File>,
    piece: Sha256,
    held: usize,
    all: Sha256,
}

impl Hashing {
    fn put(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        self.out.write_all(bytes)?;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.held));
            self.piece.update(now);
            self.held += now.len();
            if self.held == PIECE_BYTES {
                self.all.update(self.piece.finalize_reset());
                self.held = 0;
            }
            bytes = later;
        }
        Ok(())
    }

    fn end(mut self) -> (BufWriter<File>, [u8; DIGEST_BYTES]) {
        if self.held > 0 {
            self.all.update(self.piece.finalize_reset());
        }
        (self.out, self.all.finalize().into())
    }
}

/// Opens the store of `key` in `folder`; none if there is none that is whole.
///
/// # Errors
/// [`Error::Io`] if a file that is there cannot be read.
pub fn open(folder: &Path, key: &str) -> Result<Option<TokenStore>> {
    let path = path_of(folder, key);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let size = file.metadata().map_err(Error::io("read", &path))?.len();
    let Some(content) = usize::try_from(size).ok().and_then(|size| size.checked_sub(DIGEST_BYTES)) else {
        return Ok(None);
    };
    if !is_whole(&path, content)? {
        return Ok(None);
    }
    // SAFETY: the file is ours; it is never written after its rename into place, only replaced or deleted as a whole, which leaves
    // what is mapped as it is.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
    // The use of this file is the newest now: the oldest ones are deleted first.
    let _ = file.set_modified(std::time::SystemTime::now());
    Ok(TokenStore::parse(map, content, key))
}

/// Whether the last bytes of a file are the digest of the `content` bytes before them. Read in parallel, and not through the map, so
/// that nothing of it counts as this process's memory.
fn is_whole(path: &Path, content: usize) -> Result<bool> {
    let pieces = content.div_ceil(PIECE_BYTES);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(pieces.max(1));
    let part = |from: usize, to: usize| -> std::io::Result<Vec<[u8; DIGEST_BYTES]>> {
        use std::io::{Seek, SeekFrom};
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start((from * PIECE_BYTES) as u64))?;
        let mut buffer = vec![0; PIECE_BYTES];
        (from..to)
            .map(|piece| {
                let n = PIECE_BYTES.min(content - piece * PIECE_BYTES);
                file.read_exact(&mut buffer[..n])?;
                Ok(Sha256::digest(&buffer[..n]).into())
            })
            .collect()
    };
    let each = pieces.div_ceil(threads);
    let digests: std::io::Result<Vec<Vec<[u8; DIGEST_BYTES]>>> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..threads)
            .map(|t| (t * each, ((t + 1) * each).min(pieces)))
            .filter(|(from, to)| from < to)
            .map(|(from, to)| scope.spawn(move || part(from, to)))
            .collect();
        tasks.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let digests = digests.map_err(Error::io("read", path))?;
    let found: [u8; DIGEST_BYTES] = Sha256::digest(digests.concat().concat()).into();
    let mut stored = [0; DIGEST_BYTES];
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(content as u64)).map_err(Error::io("read", path))?;
    file.read_exact(&mut stored).map_err(Error::io("read", path))?;
    Ok(found == stored)
}

fn path_of(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{}.tokens", &key[..key.len().min(32)]))
}

/// Deletes the stores that were not used for longest, beyond the number kept. A store in use stays readable where it is mapped.
fn delete_oldest(folder: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut stores: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            let ours = path.extension().is_some_and(|e| e == "tokens") && path != newest;
            ours.then_some((entry.metadata().ok()?.modified().ok()?, path))
        })
        .collect();
    stores.sort();
    let surplus = (stores.len() + 1).saturating_sub(KEPT);
    for (_, path) in &stores[..surplus] {
        // A file that cannot be deleted costs room, nothing else.
        let _ = fs::remove_file(path);
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl TokenStore {
    /// The store in a file whose digest holds; none if it is of another version or key.
    fn parse(map: Mmap, content: usize, key: &str) -> Option<Self> {
        let bytes = &map[..content];
        let width = match u32::from_le_bytes(number(bytes, 12)?) {
            2 => IdWidth::Two,
            4 => IdWidth::Four,
            _ => return None,
        };
        let size = |at| usize::try_from(u64::from_le_bytes(number(bytes, at)?)).ok();
        let (rows, tokens, noted) = (size(16)?, size(24)?, size(32)?);
        let right = bytes.starts_with(MAGIC)
            && u32::from_le_bytes(number(bytes, 8)?) == VERSION
            && bytes.get(40..HEADER_BYTES)? == Sha256::digest(key.as_bytes()).as_slice();
        let offsets = HEADER_BYTES;
        let supervised = offsets.checked_add(rows.checked_add(1)?.checked_mul(8)?)?;
        let ids = supervised.checked_add(rows.checked_mul(4)?)?;
        let mask = ids.checked_add(tokens.checked_mul(width.bytes())?)?;
        let notes_at = mask.checked_add(tokens.div_ceil(8))?;
        if !right || notes_at.checked_add(noted)? != content {
            return None;
        }
        let notes = bytes[notes_at..].to_vec();
        Some(Self { rows, width, offsets, supervised, ids, mask, notes, map })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What the writer noted beside the rows.
    #[must_use]
    pub fn notes(&self) -> &[u8] {
        &self.notes
    }

    fn offset(&self, row: usize) -> usize {
        number(&self.map, self.offsets + 8 * row).map_or(0, |n| u64::from_le_bytes(n) as usize)
    }

    /// Tokens of a row.
    #[must_use]
    pub fn tokens(&self, row: usize) -> usize {
        self.offset(row + 1) - self.offset(row)
    }

    /// Tokens of a row that are learnt.
    #[must_use]
    pub fn supervised(&self, row: usize) -> usize {
        number(&self.map, self.supervised + 4 * row).map_or(0, |n| u32::from_le_bytes(n) as usize)
    }

    /// The ids and labels of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> (Vec<u32>, Vec<i32>) {
        let (from, to) = (self.offset(row), self.offset(row + 1));
        let w = self.width.bytes();
        let bytes = &self.map[self.ids + from * w..self.ids + to * w];
        let ids: Vec<u32> = match self.width {
            IdWidth::Two => bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect(),
            IdWidth::Four => bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        let learnt = |bit: usize| self.map[self.mask + bit / 8] >> (bit % 8) & 1 == 1;
        // An id that was a label fits, so the other ids do not matter.
        let label = |(id, bit): (&u32, usize)| if learnt(bit) { *id as i32 } else { IGNORED };
        let labels = ids.iter().zip(from..to).map(label).collect();
        (ids, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::random::{Purpose, Stream};

    type Rows = Vec<(Vec<u32>, Vec<i32>)>;

    fn rows(n: usize, vocabulary: u64) -> Rows {
        let mut stream = Stream::new(1, 0, Purpose::Grammar, 0);
        (0..n)
            .map(|_| {
                let ids: Vec<u32> = (0..1 + stream.below(20)).map(|_| stream.below(vocabulary) as u32).collect();
                let labels = ids.iter().map(|id| if stream.below(3) > 0 { *id as i32 } else { IGNORED }).collect();
                (ids, labels)
            })
            .collect()
    }

    fn store(dir: &Path, key: &str, rows: &Rows, vocabulary: usize) -> TokenStore {
        let mut builder = StoreBuilder::new(vocabulary);
        rows.iter().for_each(|(ids, labels)| builder.push(ids, labels).unwrap());
        builder.write(dir, key, b"{\"cut\":3}").unwrap()
    }

    fn holds(store: &TokenStore, rows: &Rows) {
        assert_eq!((store.len(), store.notes()), (rows.len(), b"{\"cut\":3}".as_slice()));
        for (i, (ids, labels)) in rows.iter().enumerate() {
            assert_eq!(&store.row(i), &(ids.clone(), labels.clone()));
            let learnt = labels.iter().skip(1).filter(|l| **l != IGNORED).count();
            assert_eq!((store.tokens(i), store.supervised(i)), (ids.len(), learnt));
        }
    }

    #[test]
    fn what_is_written_comes_back_with_small_and_large_vocabularies() {
        let dir = tempfile::tempdir().unwrap();
        for (key, vocabulary) in [("small", 65_536), ("large", 200_000)] {
            let rows = rows(300, vocabulary as u64);
            holds(&store(dir.path(), key, &rows, vocabulary), &rows);
            holds(&open(dir.path(), key).unwrap().unwrap(), &rows);
        }
        let rows = Rows::new();
        holds(&store(dir.path(), "none", &rows, 10), &rows);
        assert!(open(dir.path(), "another").unwrap().is_none());
    }

    #[test]
    fn a_damaged_store_counts_as_none_and_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(40, 1000);
        store(dir.path(), "key", &rows, 1000);
        let path = path_of(dir.path(), "key");
        let whole = fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(41) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(open(dir.path(), "key").unwrap().is_none(), "bit {bit}");
        }
        for cut in (0..whole.len()).step_by(13) {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(open(dir.path(), "key").unwrap().is_none(), "cut at {cut}");
        }
        holds(&store(dir.path(), "key", &rows, 1000), &rows);
        // A whole store under the name of another key is not that key's.
        fs::copy(&path, path_of(dir.path(), "other")).unwrap();
        assert!(open(dir.path(), "other").unwrap().is_none());
    }

    #[test]
    fn pieces_of_several_threads_make_one_digest() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = StoreBuilder::new(1 << 20);
        let ids: Vec<u32> = (0..100_000).collect();
        let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        (0..40).for_each(|_| builder.push(&ids, &labels).unwrap());
        let store = builder.write(dir.path(), "long", b"").unwrap();
        assert!(store.map.len() > 3 * PIECE_BYTES);
        assert_eq!(store.row(39), (ids, labels));
    }

    #[test]
    fn labels_and_ids_that_cannot_be_kept_are_refused() {
        let mut builder = StoreBuilder::new(100);
        for (ids, labels) in [(vec![1, 2], vec![1, 3]), (vec![70_000], vec![IGNORED]), (vec![1], vec![])] {
            assert!(matches!(builder.push(&ids, &labels), Err(Error::BadMapping { .. })));
        }
    }

    #[test]
    fn only_the_newest_stores_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(2, 50);
        for i in 0..KEPT + 3 {
            store(dir.path(), &format!("key-{i:02}"), &rows, 50);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), KEPT);
        assert!(open(dir.path(), &format!("key-{:02}", KEPT + 2)).unwrap().is_some());
    }
}
