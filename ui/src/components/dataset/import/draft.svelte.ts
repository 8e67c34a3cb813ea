// An import in preparation. It outlives the page: whoever looks something up comes back to the file, the columns and the
// shares as they were; a reload keeps everything but files that were dropped and not yet used.
import { backend, rpc, toApiError, type ApiError, type ColumnMapping, type Dataset, type DatasetType, type PickedFile, type Preview } from "$lib/api";
import { mutate } from "$lib/cache.svelte";
import { guessMapping, mappingFaults, type MappingFault } from "../mapping";
import { shareFaults, type ShareFault } from "../shares";

/** A file that the host can read. */
export interface Source {
  name: string;
  path: string;
}

/** Rows and problems of a preview. */
const PREVIEW_ROWS = 200;
const STORED = "tonebridge.import";

interface Kept {
  source: Source | null;
  testFile: Source | null;
  mapping: ColumnMapping | null;
  name: string;
  description: string;
  purpose: DatasetType;
  validation: number;
  test: number;
  seed: number;
}

const FRESH: Kept = { source: null, testFile: null, mapping: null, name: "", description: "", purpose: "training", validation: 5, test: 5, seed: 42 };

export class ImportDraft {
  source = $state.raw<Source | null>(null);
  /** A second file whose rows become the test split. */
  testFile = $state.raw<Source | null>(null);
  /** The user's own mapping; none takes what the file's columns say. */
  mapping = $state.raw<ColumnMapping | null>(null);
  /** The mapping is a guess from names that the importer does not know. */
  guessed = $state(false);
  name = $state("");
  description = $state("");
  purpose = $state<DatasetType>("training");
  /** Shares in percent. */
  validation = $state(5);
  test = $state(5);
  seed = $state(42);

  /** Files that were dropped while another was in work. */
  waiting = $state.raw<readonly PickedFile[]>([]);
  /** The file on its way to the host, with the share that is there. */
  uploading = $state<{ name: string; share: number | null }>();
  preview = $state.raw<Preview>();
  looking = $state(false);
  importing = $state(false);
  /** Why the file could not be brought, read or imported. */
  error = $state.raw<ApiError>();
  #look = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** How columns are read: as the user says, else as they were found. */
  effective = $derived(this.mapping ?? this.preview?.mapping ?? null);
  faults = $derived<MappingFault[]>(this.effective && this.preview ? mappingFaults(this.effective, this.preview.columns) : []);
  shareFaults = $derived<ShareFault[]>(shareFaults({ validation: this.validation, test: this.test }, this.testFile !== null));
  /** What keeps the import from starting. */
  blocked = $derived<"no_file" | "not_read" | "mapping" | "no_rows" | "shares" | undefined>(
    this.source === null ? "no_file"
    : this.preview === undefined || this.looking ? "not_read"
    : this.effective === null || this.faults.length > 0 ? "mapping"
    : this.preview.num_samples === 0 ? "no_rows"
    : this.shareFaults.length > 0 ? "shares"
    : undefined,
  );

  /** Takes files that were chosen or dropped: the first is looked at unless one is in work; the others wait. */
  async take(files: readonly PickedFile[]): Promise<void> {
    const [first, ...others] = files;
    if (!first) return;
    if (this.source !== null || this.uploading) {
      this.waiting = [...this.waiting, ...files];
      return;
    }
    this.waiting = [...this.waiting, ...others];
    await this.use(first);
  }

  /** Looks at a file instead of the one in work. */
  async use(file: PickedFile): Promise<void> {
    this.#unwait(file);
    const source = await this.#bring(file);
    if (!source) return;
    const own = this.source === null || this.name === "" || this.name === stem(this.source.name);
    this.source = source;
    this.mapping = null;
    this.guessed = false;
    this.preview = undefined;
    if (own) this.name = stem(source.name);
    await this.look();
  }

  /** Takes the test rows from a file of their own. */
  async useForTest(file: PickedFile): Promise<void> {
    this.#unwait(file);
    this.testFile = (await this.#bring(file)) ?? this.testFile;
  }

  #unwait(file: PickedFile): void {
    this.waiting = this.waiting.filter((other) => other !== file);
  }

  /** The path of a file on the host; a browser's file is uploaded first. */
  async #bring(file: PickedFile): Promise<Source | undefined> {
    this.error = undefined;
    if (file.path !== undefined) return { name: file.name, path: file.path };
    if (file.file === undefined) return undefined;
    this.uploading = { name: file.name, share: null };
    try {
      const host = await backend();
      const { path } = await host.upload(file.file, (share) => (this.uploading = { name: file.name, share }));
      return { name: file.name, path };
    } catch (thrown) {
      this.error = toApiError(thrown);
      return undefined;
    } finally {
      this.uploading = undefined;
    }
  }

  /** Reads columns in another way; the preview follows after a pause in typing. */
  map(mapping: ColumnMapping): void {
    this.mapping = mapping;
    this.guessed = false;
    clearTimeout(this.#timer);
    if (this.faults.length === 0) this.#timer = setTimeout(() => void this.look(), 250);
  }

  /** Reads the file's beginning. The old preview stays while the new one comes. */
  async look(): Promise<void> {
    if (this.source === null) return;
    const number = ++this.#look;
    this.looking = true;
    try {
      const preview = await rpc("data_preview", { path: this.source.path, mapping: this.mapping, limit: PREVIEW_ROWS });
      if (number !== this.#look) return;
      this.preview = preview;
      this.error = undefined;
      const guess = preview.mapping === null && this.mapping === null ? guessMapping(preview.columns) : null;
      if (guess) {
        this.guessed = true;
        this.mapping = guess;
        await this.look();
      }
    } catch (thrown) {
      if (number === this.#look) this.error = toApiError(thrown);
    } finally {
      if (number === this.#look) this.looking = false;
    }
  }

  /** Imports. The draft is kept if that fails, and empty if it worked, but for files that wait. */
  async import(): Promise<Dataset | undefined> {
    if (this.source === null || this.blocked !== undefined || this.importing) return undefined;
    this.importing = true;
    this.error = undefined;
    try {
      const dataset = await mutate("data_import", {
        path: this.source.path,
        test_path: this.testFile?.path ?? null,
        name: this.name.trim() === "" ? null : this.name.trim(),
        description: this.description.trim(),
        type: this.purpose,
        mapping: this.effective,
        validation_share: this.validation / 100,
        test_share: this.testFile ? 0 : this.test / 100,
        seed: this.seed,
      });
      this.discard();
      return dataset;
    } catch (thrown) {
      this.error = toApiError(thrown);
      return undefined;
    } finally {
      this.importing = false;
    }
  }

  /** Begins anew; files that wait stay. */
  discard(): void {
    this.#look += 1;
    clearTimeout(this.#timer);
    Object.assign(this, FRESH);
    this.preview = undefined;
    this.error = undefined;
    this.looking = false;
    this.guessed = false;
  }

  /** Keeps the draft over a reload. Reads every field, so that an effect around it runs at each change. */
  keep(): void {
    const { source, testFile, mapping, name, description, purpose, validation, test, seed } = this;
    try {
      if (source === null) sessionStorage.removeItem(STORED);
      else sessionStorage.setItem(STORED, JSON.stringify({ source, testFile, mapping, name, description, purpose, validation, test, seed } satisfies Kept));
    } catch {
      // Storage is full or refused: the draft lives as long as the page.
    }
  }

  /** The draft of before the reload. */
  restore(): void {
    try {
      const kept = sessionStorage.getItem(STORED);
      if (this.source === null && kept !== null) Object.assign(this, { ...FRESH, ...(JSON.parse(kept) as Partial<Kept>) });
    } catch {
      // What cannot be read is no draft.
    }
    if (this.source !== null && this.preview === undefined && !this.looking) void this.look();
  }
}

/** A file's name without its ending. */
export function stem(name: string): string {
  return name.replace(/\.(?:jsonl?|ndjson|csv|tsv|parquet)$/i, "");
}

/** The one import in preparation. */
export const draft = new ImportDraft();
