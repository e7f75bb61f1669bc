// How files come into the page: dropped, chosen, or as a folder that the browser lends again after a crash.

const ENTRY_MS = 60_000; // how long the browser may take to read one entry of a dropped folder
const AT_ONCE = 500; // files of one message to the worker

/** Whether the browser lends a folder, which is then remembered. Only Chromium does, and only by HTTPS. */
export const lendsFolders = () => "showDirectoryPicker" in window;

/** Say what happens after a break, in this browser and at this address. */
export function describeMemory(isKept) {
  const again = "drop the same folder again, and only what is missing is sent";
  if (!isKept) return `This browser keeps nothing of a deposit, as in a private window. If it breaks off, ${again}: what was hashed is hashed again.`;
  if (lendsFolders()) return "If the deposit of a folder breaks off, come back to this page: it goes on with one click.";
  if (!isSecureContext) return `This portal is not reached by HTTPS, so browsers do not lend it folders. If a deposit breaks off, come back and ${again}.`;
  return `This browser does not lend folders for later. If a deposit breaks off, come back and ${again}.`;
}

/** Ask a dropped entry for something. It answers by callbacks, or, as some do, not at all. */
const ask = (call) =>
  new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("it does not answer")), ENTRY_MS);
    call(resolve, reject);
  });

/** Walk an entry: yields {name, file}, or {name, entry, error} of what cannot be read. */
async function* walkEntry(entry) {
  const name = entry.fullPath.replace(/^\//, "");
  try {
    if (entry.isFile) yield { name, file: await ask((resolve, reject) => entry.file(resolve, reject)) };
    else {
      const reader = entry.createReader();
      for (;;) { // it returns at most a hundred entries at a time
        const entries = await ask((resolve, reject) => reader.readEntries(resolve, reject));
        if (!entries.length) return;
        for (const inner of entries) yield* walkEntry(inner);
      }
    }
  } catch (error) {
    yield { name, entry, error };
  }
}

/** Return what was dropped: {folder}, {file} or {entry}. Its items are valid only during the event. */
function takeDropped(items) {
  return [...items].filter(({ kind }) => kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry?.();
    const file = entry ? null : item.getAsFile();
    const lent = lendsFolders() && entry?.isDirectory ? item.getAsFileSystemHandle?.() : null;
    return Promise.resolve(lent).catch(() => null).then((folder) => ({ folder, entry, file }));
  });
}

export class Choosing {
  /** `order` tells the worker; `onFolder` hears of each folder that the browser lends, `onOthers` that others came. */
  constructor(order, { onFolder, onOthers }) {
    Object.assign(this, { order, onFolder, onOthers });
    this.unread = new Map(); // entries that could not be read, by their names
  }

  addFolder(folder) {
    this.onFolder(folder);
    this.order("folder", { folder });
  }

  addFiles(chosen) {
    if (chosen.length) this.onOthers();
    for (let start = 0; start < chosen.length; start += AT_ONCE) {
      this.order("files", { chosen: chosen.slice(start, start + AT_ONCE) });
    }
  }

  async addEntry(entry) {
    this.onOthers();
    this.order("read", { change: 1 });
    for await (const { name, file, entry: inner, error } of walkEntry(entry)) {
      if (file) this.order("files", { chosen: [[file, name]] });
      else {
        this.unread.set(name, inner);
        this.order("unreadable", { name, error: { name: error.name, message: error.message } });
      }
    }
    this.order("read", { change: -1 });
  }

  /** Read an entry again that could not be read. Returns whether the file was one. */
  readAgain(number, name) {
    const entry = this.unread.get(name);
    if (!entry) return false;
    this.unread.delete(name);
    this.order("drop", { number });
    this.addEntry(entry);
    return true;
  }

  async addDropped(items) {
    const found = takeDropped(items);
    this.order("read", { change: 1 });
    for (const { folder, entry, file } of await Promise.all(found)) {
      if (folder?.kind === "directory") this.addFolder(folder);
      else if (entry) await this.addEntry(entry);
      else if (file) this.addFiles([[file, file.name]]);
    }
    this.order("read", { change: -1 });
  }

  addChosen(input) {
    this.addFiles([...input.files].map((file) => [file, file.webkitRelativePath || file.name]));
    input.value = "";
  }

  /** Let a person choose a folder. */
  async chooseFolder(input) {
    if (!lendsFolders()) return input.click();
    try {
      this.addFolder(await showDirectoryPicker({ id: "deposit" }));
    } catch (error) {
      if (error.name !== "AbortError") input.click(); // the browser lends none here, for instance in a frame
    }
  }
}
