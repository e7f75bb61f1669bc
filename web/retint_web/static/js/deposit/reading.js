// Files as a browser gives them: walked one by one, hashed piece by piece, and told when they changed meanwhile.

import { sha256 } from "../../vendor/noble-hashes/sha2.js";
import { bytesToHex } from "../../vendor/noble-hashes/utils.js";

const PIECE = 4 << 20; // bytes that are hashed at a time

/** Say why something cannot be read. */
export const explain = (error) =>
  error.name === "NotReadableError"
    ? "It cannot be read: it changed since it was chosen, or is locked. Choose it again."
    : `It cannot be read: ${(error.message || error.name).replace(/\.$/, "")}.`;

/** Walk a folder: yields {name, source} of each file, {name, folder, error} of a folder that cannot be read. */
export async function* walk(folder, path) {
  try {
    for await (const [name, entry] of folder.entries()) {
      const whole = `${path}/${name}`;
      if (entry.kind === "directory") yield* walk(entry, whole);
      else yield { name: whole, source: new Source({ folder, file: name }) };
    }
  } catch (error) {
    yield { name: path, folder, error };
  }
}

/** A file that is to be sent: one that the page was given, or one in a folder that the page may read again. */
export class Source {
  /** `file` is the file, or, with a folder, its name in there. */
  constructor({ file, folder = null }) {
    Object.assign(this, { file, folder });
    this.seen = null; // size and time at which it was hashed
  }

  /** Open the file as it is now. */
  async open() {
    return this.folder ? (await this.folder.getFileHandle(this.file)).getFile() : this.file;
  }

  /** Open the file. Returns null if it is not what was hashed. */
  async reopen() {
    const file = await this.open();
    return file.size === this.seen.size && file.lastModified === this.seen.modified ? file : null;
  }

  /** Return the SHA-256, in hex. */
  async hash(onProgress) {
    const file = await this.open();
    const digest = sha256.create();
    for (let start = 0; start < file.size; start += PIECE) {
      digest.update(new Uint8Array(await file.slice(start, start + PIECE).arrayBuffer()));
      onProgress(Math.min(start + PIECE, file.size), file.size);
    }
    this.seen = { size: file.size, modified: file.lastModified };
    return bytesToHex(digest.digest());
  }
}
