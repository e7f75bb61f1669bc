// What a browser keeps of a deposit until it is done (IndexedDB), so that it goes on after a closed tab or a crash: the
// batch, the form, the folders where the browser lends them, and of each file what it was when it was hashed.

const VERSION = 1;
const fileKeys = (batch) => IDBKeyRange.bound([batch], [batch, []]);

const promise = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const ended = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });

function create({ target: { result: database } }) {
  database.createObjectStore("deposits", { keyPath: "id" });
  database.createObjectStore("files", { keyPath: ["batch", "name"] });
}

/** The journal. A browser that keeps nothing, as some do in private windows, has one that is always empty. */
export class Journal {
  static async open() {
    const journal = new Journal();
    try {
      const request = indexedDB.open("retint-deposits", VERSION);
      request.onupgradeneeded = create;
      journal.database = await promise(request);
    } catch (error) {
      console.info("This browser keeps no deposits:", error);
    }
    return journal;
  }

  /** Whether anything is kept. */
  get isKept() { return Boolean(this.database); }

  async write(stores, change) {
    if (!this.database) return;
    const transaction = this.database.transaction(stores, "readwrite");
    change(...stores.map((name) => transaction.objectStore(name)));
    await ended(transaction);
  }

  /** Keep a deposit: {id, person, batch, fields, folders, total, sent, at}. */
  keepDeposit(deposit) { return this.write(["deposits"], (deposits) => deposits.put(deposit)); }

  /** Find a person's deposits that broke off, the newest first. */
  async findDeposits(person) {
    if (!this.database) return [];
    const found = await promise(this.database.transaction("deposits").objectStore("deposits").getAll());
    return found.filter((deposit) => deposit.person === person).sort((a, b) => b.at - a.at);
  }

  /** Forget a deposit and its files. */
  forget(id) {
    return this.write(["deposits", "files"], (deposits, files) => { deposits.delete(id); files.delete(fileKeys(id)); });
  }

  /** Keep what is known of files: {batch, name, size, modified, sha256, upload}. */
  keepFiles(files) { return this.write(["files"], (store) => { for (const file of files) store.put(file); }); }

  /** Read what is known of a batch's files, by name. */
  async readFiles(id) {
    if (!this.database) return new Map();
    const files = await promise(this.database.transaction("files").objectStore("files").getAll(fileKeys(id)));
    return new Map(files.map((file) => [file.name, file]));
  }
}
