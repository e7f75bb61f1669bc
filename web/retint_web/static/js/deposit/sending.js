// What goes over the network: asking what the portal has, sending files by tus, web addresses. What may pass is waited
// for here; what is refused is a Fault with the portal's sentence.

import { Fault, Shortage, findFault, parseAnswer } from "./answers.js";
import "../../vendor/tus.min.js";

const SMALL = 8 << 20; // bytes of a file that is sent in one request
const CHUNK = 64 << 20; // bytes of one request of a larger file
const RETRY_AFTER_MS = [1000, 4000];
const LONGEST_WAIT_MS = 30_000;
const GONE = new Set([404, 410]); // an upload that expired: tus opens another
const SILENT = "The portal does not answer; trying again.";

const pause = (duration) => new Promise((resolve) => setTimeout(resolve, duration));

export class Portal {
  /** `tell` hears what is waited for: a sentence, or null; and that the session has ended: `tell(sentence, true)`. */
  constructor(tell) {
    this.tell = tell;
    this.token = "";
    this.batch = null;
    this.shortage = null; // the quota that was reached
    this.waiting = 0;
    this.sleepers = new Set();
    this.signIn(null);
  }

  /** Let requests through with a form token; without one they wait until somebody has signed in. */
  signIn(token) {
    this.token = token;
    if (token) this.letThrough?.();
    else this.isSignedIn = new Promise((resolve) => { this.letThrough = resolve; });
  }

  /**
   * Try something until it is done. What the surroundings are to blame for is waited for, what may be chance is tried
   * thrice, and a session that ended until somebody signs in. `onTrouble` hears of each fault that is not the last.
   */
  async insist(attempt, onTrouble = () => {}) {
    for (let tries = 0, waits = 0; ;) {
      await this.isSignedIn;
      if (this.shortage) throw this.shortage;
      try {
        const value = await attempt();
        for (const wake of this.sleepers) wake();
        return value;
      } catch (fault) {
        if (fault instanceof Shortage) this.shortage = fault;
        const isLast = fault.kind === "retry" ? tries === RETRY_AFTER_MS.length : !fault.kind;
        if (isLast) throw fault;
        onTrouble(fault);
        if (fault.kind === "retry") await pause(RETRY_AFTER_MS[tries++]);
        else if (fault.kind === "wait") await this.wait(fault, Math.min(LONGEST_WAIT_MS, 1000 * 2 ** waits++));
        else if (this.token) { this.signIn(null); this.tell("", true); }
      }
    }
  }

  /** Wait for the portal; where it did not answer at all, until anybody else hears from it. */
  async wait({ message, after }, duration) {
    this.waiting += 1;
    this.tell(message);
    let wake;
    const isHeard = new Promise((resolve) => { wake = resolve; });
    if (message === SILENT) this.sleepers.add(wake);
    await Promise.race([pause(after ?? duration), isHeard]);
    this.sleepers.delete(wake);
    this.waiting -= 1;
    if (!this.waiting) this.tell(null);
  }

  async post(address, body, headers = {}) {
    let answer;
    try {
      answer = await fetch(address, { method: "POST", body, headers: { "X-CSRFToken": this.token, ...headers } });
      return { answer, text: await answer.text() };
    } catch {
      throw new Fault(SILENT, "wait");
    }
  }

  /** Add those of some files, each {name, sha256}, that the portal has. Returns whether it has each. */
  async addKnown(files) {
    const body = JSON.stringify({ files });
    const { answer, text } = await this.post(this.batch.known, body, { "Content-Type": "application/json" });
    const { jobs, left_out: leftOut } = parseAnswer(text);
    if (answer.status === 200 && !answer.redirected && jobs?.length === files.length) {
      if (leftOut) this.shortage = new Shortage(leftOut.detail);
      return jobs.map(Boolean);
    }
    const fault = findFault(answer.status, answer.redirected, text, answer.headers.get("Retry-After"));
    if (answer.status < 400 && !fault.kind) fault.kind = "wait"; // it would be the fault of a thousand files
    throw Object.assign(fault, { isOfOne: [400, 413, 422].includes(answer.status) });
  }

  /** Let the portal download a web address. */
  async addAddress(address) {
    const { answer, text } = await this.post(this.batch.addresses, new URLSearchParams({ address }));
    if (answer.status === 201 && !answer.redirected && parseAnswer(text).id) return;
    throw findFault(answer.status, answer.redirected, text, answer.headers.get("Retry-After"));
  }

  /**
   * Send a file, or the rest of it. Only the portal's own word that all bytes have arrived says so.
   *
   * `upload` is where an earlier try was sent to; `onProgress` hears of bytes, `onOpen` of the address.
   */
  send(file, { name, sha256, upload }, { onProgress, onOpen, explain }) {
    const isSmall = file.size <= SMALL;
    return new Promise((resolve, reject) => {
      const sending = new self.tus.Upload(file, {
        endpoint: new URL(this.batch.uploads, location).href,
        uploadUrl: upload ?? null,
        metadata: { filename: name, batch: this.batch.id, sha256 },
        uploadDataDuringCreation: isSmall,
        chunkSize: isSmall ? Infinity : CHUNK,
        retryDelays: null,
        fingerprint: async () => null,
        storeFingerprintForResuming: false,
        onBeforeRequest: (request) => request.setHeader("X-CSRFToken", this.token),
        onAfterResponse: judge,
        onUploadUrlAvailable: () => { if (!isSmall) onOpen(sending.url); },
        onProgress,
        onSuccess: resolve,
        onError: (error) => {
          if (error.causingError instanceof Fault) reject(error.causingError);
          else if (error.originalResponse) reject(new Fault("The answer did not come from the portal."));
          else explain().then((reason) => reject(reason ? new Fault(reason) : new Fault(SILENT, "wait")));
        },
      });
      sending.start();
    });
  }

  /** Give an upload up that nobody goes on with; what is left of it expires in a week. */
  giveUp(upload) {
    const headers = { "X-CSRFToken": this.token };
    self.tus.Upload.terminate(upload, { ...self.tus.defaultOptions, headers, retryDelays: null }).catch(() => {});
  }
}

/** Judge an answer of an upload before tus does. */
function judge(request, response) {
  const status = response.getStatus();
  const { responseURL, responseText } = request.getUnderlyingObject();
  const isOurs = response.getHeader("Tus-Resumable") === "1.0.0";
  if (status >= 200 && status < 300 && isOurs) return;
  if (request.getMethod() === "HEAD" && GONE.has(status)) return;
  const isRedirected = responseURL !== new URL(request.getURL(), location).href;
  throw findFault(status, isRedirected, responseText, response.getHeader("Retry-After"));
}
