// An import of feedback in preparation: the file, what its rows lack, and what a dry run says of it.
import { backend, rpc, toApiError, type ApiError, type ImportedFeedback, type ImportFeedback, type PickedFile } from "$lib/api";
import { mutate } from "$lib/cache.svelte";

export class FeedbackImport {
  source = $state.raw<{ name: string; path: string }>();
  /** The version that answered, where a row names none. */
  model = $state<string>();
  transformation = $state("");
  uploading = $state<{ name: string; share: number | null }>();
  /** What the dry run found; the last one stays while the next runs. */
  found = $state.raw<ImportedFeedback>();
  looking = $state(false);
  importing = $state(false);
  error = $state.raw<ApiError>();
  #look = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** What keeps the import from starting. */
  blocked = $derived<"no_file" | "not_read" | "nothing" | undefined>(
    this.source === undefined ? "no_file" : this.found === undefined || this.looking ? "not_read" : this.found.stored === 0 ? "nothing" : undefined,
  );

  /** Lets the user choose a file, brings it to the host and looks at it. */
  async choose(): Promise<void> {
    this.error = undefined;
    try {
      const [picked] = await (await backend()).pickFiles("dataset");
      if (picked) await this.use(picked);
    } catch (thrown) {
      this.error = toApiError(thrown);
    }
  }

  /** Looks at a file; a browser's file is uploaded first. */
  async use(file: PickedFile): Promise<void> {
    try {
      let path = file.path;
      if (path === undefined && file.file) {
        this.uploading = { name: file.name, share: null };
        ({ path } = await (await backend()).upload(file.file, (share) => (this.uploading = { name: file.name, share })));
      }
      if (path === undefined) return;
      this.source = { name: file.name, path };
      this.found = undefined;
    } finally {
      this.uploading = undefined;
    }
    await this.look();
  }

  /** Other defaults; the dry run follows after a pause in typing. */
  set(changes: { model?: string | undefined; transformation?: string }): void {
    Object.assign(this, changes);
    clearTimeout(this.#timer);
    if (this.source) this.#timer = setTimeout(() => void this.look(), 300);
  }

  /** Runs through the file and stores nothing. */
  async look(): Promise<void> {
    if (!this.source) return;
    const number = ++this.#look;
    this.looking = true;
    try {
      const found = await rpc("feedback_import", this.#args(true));
      if (number === this.#look) [this.found, this.error] = [found, undefined];
    } catch (thrown) {
      if (number === this.#look) this.error = toApiError(thrown);
    } finally {
      if (number === this.#look) this.looking = false;
    }
  }

  async run(): Promise<ImportedFeedback | undefined> {
    if (this.blocked !== undefined || this.importing) return undefined;
    this.importing = true;
    this.error = undefined;
    try {
      return await mutate("feedback_import", this.#args(false));
    } catch (thrown) {
      this.error = toApiError(thrown);
      return undefined;
    } finally {
      this.importing = false;
    }
  }

  #args(dry_run: boolean): ImportFeedback {
    const transformation_type = this.transformation.trim();
    return { path: this.source?.path ?? "", dry_run, ...(this.model ? { model_id: this.model } : {}), ...(transformation_type ? { transformation_type } : {}) };
  }
}
