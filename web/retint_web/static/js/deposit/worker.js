// The thread that walks folders, hashes files, asks the portal which it has, and sends the others, several at a time.
// What it knows of a file beside its record is a few words; of bytes it holds a piece at a time.

import { Fault, Shortage } from "./answers.js";
import { Journal } from "./journal.js";
import { Source, explain, walk } from "./reading.js";
import { Portal } from "./sending.js";
import { percent } from "./texts.js";

const PARALLEL = 5;
const PAGE = 1000; // files that are asked for at once
const ASK_AFTER_MS = 500; // the portal is asked earlier if there is nothing else to send
const TELL_AFTER_MS = 60;
const KEEP_AFTER_MS = 1000;
const CHANGED = "It changed while it was sent. Send it again.";

/** A queue whose `take` waits for what is not there yet. */
class Queue {
  items = [];
  first = 0;
  takers = [];

  get length() { return this.items.length - this.first; }

  put(item) {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.items.push(item);
  }

  async take() {
    if (!this.length) return new Promise((resolve) => { this.takers.push(resolve); });
    const item = this.items[this.first++];
    if (this.first > PAGE) this.items.splice(0, this.first), (this.first = 0);
    return item;
  }
}

const files = []; // by number: {name, source} or {name, address}, and while it is under way {sha256, upload}
const toHash = new Queue();
const toSend = new Queue();
const portal = new Portal((sentence, hasEnded) => postMessage(hasEnded ? { hasEnded } : { waitsFor: sentence }));
let journal;
let known = new Map(); // what the journal knows of files of this batch that were not listed yet
let leftOutPattern;
let reading = 0; // folders that are being read, here or in the page
let pending = 0; // files that are neither sent nor refused
let hasBegun = false;

// ── Telling the page ─────────────────────────────────────

let news = {};

/** Tell the page something soon: many small messages would keep it busy. */
function tell(change) {
  if (!Object.keys(news).length) {
    Object.assign(news, { added: [], changed: new Map(), leftOut: 0 });
    setTimeout(() => { postMessage({ ...news, reading }); news = {}; }, TELL_AFTER_MS);
  }
  change(news);
}

const show = (number, facts) =>
  tell(({ changed }) => changed.set(number, { ...changed.get(number), ...facts }));

/** Tell the page when all is over. */
async function settle() {
  if (!hasBegun || reading || pending) return;
  await keep();
  if (!reading && !pending) tell((all) => { all.isDone = true; });
}

// ── Listing ──────────────────────────────────────────────

/** Whether a file is no photograph. What somebody chose, the outermost folder, is not judged by its name. */
const isLeftOut = (name) => leftOutPattern.test(name.replace(/^[^/]+\//, ""));

/** Write out lone surrogates: names may have them, requests cannot. */
const wellFormed = (name) => name.replace(/[\ud800-\udfff]/gu, (half) => `<U+${half.charCodeAt(0).toString(16).toUpperCase()}>`);

function add(file, record) {
  const number = files.push({ ...file, name: wellFormed(file.name) }) - 1;
  tell(({ added }) => added.push({ ...record, name: files[number].name }));
  if (record.state === "failed") return;
  pending += 1;
  (file.address ? toSend : toHash).put(number);
}

function addFile(name, source, size) {
  if (isLeftOut(name)) tell((all) => { all.leftOut += 1; });
  else add({ name, source }, { size });
}

function addUnreadable(file, error) {
  if (isLeftOut(file.name) || isLeftOut(`${file.name}/`)) tell((all) => { all.leftOut += 1; });
  else add(file, { size: 0, state: "failed", text: "not read", reason: explain(error) });
}

async function addFolder(folder, name = folder.name) {
  reading += 1;
  for await (const found of walk(folder, name)) {
    try {
      if (found.error) throw found.error;
      addFile(found.name, found.source, isLeftOut(found.name) ? 0 : (await found.source.open()).size);
    } catch (error) {
      addUnreadable(found, error);
    }
  }
  reading -= 1;
  tell(() => {});
  await settle();
}

// ── Keeping ──────────────────────────────────────────────

let unkept = [];

/** Keep what was learned of files. A browser that cannot, for want of room, goes on without. */
async function keep() {
  const learned = unkept;
  unkept = [];
  if (learned.length) await journal.keepFiles(learned).catch(console.warn);
}

function learn({ name, sha256, upload, source }) {
  if (!unkept.length) setTimeout(keep, KEEP_AFTER_MS);
  unkept.push({ ...source.seen, batch: portal.batch.id, name, sha256, upload });
}

// ── Hashing and asking ───────────────────────────────────

/** Learn a file's SHA-256, from the journal if it is what it was. */
async function identify(number) {
  const file = files[number];
  const earlier = known.get(file.name);
  known.delete(file.name);
  if (earlier) {
    file.source.seen = earlier;
    const { sha256, upload } = earlier;
    if (await file.source.reopen()) return Object.assign(file, { sha256, upload });
    if (upload) portal.giveUp(upload);
  }
  file.sha256 = await file.source.hash((done, size) => {
    if (done < size) show(number, { text: `being read, ${percent(done, size)}` });
  });
  learn(file);
}

/** Ask which files the portal has; those are in the batch from then on, the others are to be sent. */
async function ask(numbers) {
  try {
    const asked = numbers.map((number) => ({ name: files[number].name, sha256: files[number].sha256 }));
    const has = await portal.insist(() => portal.addKnown(asked), tellTrouble(numbers));
    numbers.forEach((number, place) => {
      if (has[place]) succeed(number, "was here already");
      else if (portal.shortage) fail(number, portal.shortage);
      else toSend.put(number);
    });
  } catch (fault) {
    if (fault.isOfOne && numbers.length > 1) { // one of them is at fault: find it, and ask for the others
      const half = numbers.length >> 1;
      await ask(numbers.slice(0, half));
      await ask(numbers.slice(half));
    } else for (const number of numbers) fail(number, fault);
  }
}

/** Hash files in their order, and ask in pages; never far ahead of what is sent. */
async function prepare() {
  let page = [];
  let askedAt = performance.now();
  const isDue = () =>
    page.length >= PAGE ||
    (!toHash.length && !reading) ||
    (!toSend.length && performance.now() > askedAt + ASK_AFTER_MS);
  setInterval(() => { if (page.length && !toHash.length) toHash.put(null); }, ASK_AFTER_MS); // nothing else may come
  for (;;) {
    const number = await toHash.take();
    try {
      if (number !== null) {
        if (portal.shortage) throw portal.shortage;
        await identify(number);
        page.push(number);
      }
    } catch (error) {
      fail(number, error instanceof Shortage ? error : new Fault(explain(error)));
    }
    if (!page.length || !isDue()) continue;
    await ask(page);
    page = [];
    askedAt = performance.now();
    while (toSend.length > PAGE) await new Promise((resolve) => { afterSent = resolve; });
  }
}

let afterSent = () => {};

// ── Sending ──────────────────────────────────────────────

const tellTrouble = (numbers) => ({ kind, message }) => {
  const facts =
    kind === "signIn"
      ? { state: "waiting", text: "not sent: sign in again", sent: 0 }
      : { state: kind === "wait" ? "waiting" : "sending", text: "retrying", reason: message, sent: 0 };
  for (const number of numbers) show(number, facts);
};

function end(number, facts) {
  show(number, { reason: "", ...facts });
  pending -= 1;
  afterSent();
  settle();
}

function succeed(number, text) {
  end(number, { state: "sent", text });
  files[number] = { name: files[number].name };
}

function fail(number, fault) {
  Object.assign(files[number], { sha256: undefined, upload: undefined }); // the next try looks at the file anew
  const isLeftOut = fault instanceof Shortage;
  if (isLeftOut) tell((all) => { all.shortage = fault.message; });
  end(number, { state: "failed", text: isLeftOut ? "left out" : "not sent", reason: isLeftOut ? "" : fault.message, sent: 0 });
}

/** Find out why a file was not sent: null if the network is at fault, else what happened to the file. */
async function explainLoss({ source }) {
  try {
    const file = await source.reopen();
    if (!file) return CHANGED;
    await file.slice(0, 1).arrayBuffer();
    return null;
  } catch (error) {
    return explain(error);
  }
}

/** Send a file once, from where the last try ended. */
async function sendFile(number) {
  const file = files[number];
  const opened = await file.source.reopen().catch((error) => { throw new Fault(explain(error)); });
  if (!opened) throw new Fault(CHANGED);
  show(number, { state: "sending", text: "", reason: "" });
  await portal.send(opened, file, {
    onProgress: (sent) => show(number, { sent }),
    onOpen: (upload) => { if (file.upload !== upload) learn(Object.assign(file, { upload })); },
    explain: () => explainLoss(file),
  });
}

async function sendAddress(number) {
  show(number, { state: "sending", text: "being downloaded", reason: "" });
  await portal.addAddress(files[number].address);
}

/** Send one file after the other. Whatever happens to one, the others go on. */
async function send() {
  for (;;) {
    const number = await toSend.take();
    const attempt = files[number].address ? sendAddress : sendFile;
    try {
      await portal.insist(() => attempt(number), tellTrouble([number]));
      succeed(number, "sent");
    } catch (fault) {
      fail(number, fault instanceof Fault ? fault : new Fault(`It cannot be sent: ${fault.message}.`));
    }
  }
}

// ── What the page says ───────────────────────────────────

const orders = {
  async start({ leftOut }) {
    leftOutPattern = new RegExp(leftOut, "i");
    journal = await Journal.open();
  },
  files({ chosen }) { for (const [file, name] of chosen) addFile(name, new Source({ file }), file.size); },
  folder({ folder }) { return addFolder(folder); },
  unreadable({ name, error }) { addUnreadable({ name }, error); },
  address({ address }) { add({ name: address, address }, { size: 0, text: "to be downloaded" }); },
  read({ change }) { reading += change; tell(() => {}); return settle(); },
  signIn({ token }) { portal.signIn(token); },
  drop({ number }) { show(number, { state: "gone" }); },
  again({ number }) {
    const { name, folder, address } = files[number];
    portal.shortage = null;
    if (folder) { orders.drop({ number }); return addFolder(folder, name); }
    pending += 1;
    show(number, { state: "waiting", text: "", reason: "" });
    (address ? toSend : toHash).put(number);
  },
  async begin({ batch, token, awaitsFiles }) {
    portal.batch = batch;
    known = await journal.readFiles(batch.id).catch(() => new Map());
    portal.signIn(token);
    hasBegun = true;
    prepare();
    for (let sender = 0; sender < PARALLEL; sender += 1) send();
    if (!awaitsFiles) await settle();
  },
};

let before = Promise.resolve();
addEventListener("message", ({ data: { order, ...facts } }) => {
  const carryOut = () => orders[order](facts);
  if (order === "start" || order === "begin") before = before.then(carryOut);
  else before.then(carryOut);
});
