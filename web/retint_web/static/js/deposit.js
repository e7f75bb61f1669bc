// The deposit page: what is chosen, how far it is, what failed and why, and going on with what broke off.
// Files are hashed and sent by a thread of its own (deposit/worker.js). Without JavaScript, or in a browser without such
// threads, the same form works as well; then the browser sends all files in one request.

import { Choosing, describeMemory } from "./deposit/choosing.js";
import { Journal } from "./deposit/journal.js";
import { Rows } from "./deposit/rows.js";
import { findFault, parseAnswer } from "./deposit/answers.js";
import { formatDuration, formatNumber, formatSize, pluralize } from "./deposit/texts.js";

const SAY_AFTER_MS = 10_000; // a screen reader is told how far it is so often
const KEEP_AFTER_MS = 2000;
const ANSWER_MS = 300; // how long another tab may take to say that it has a deposit

const form = document.querySelector("form.deposit");
const part = (name) => form.querySelector(`[data-${name}]`);
const rows = new Rows(form.querySelector(".sending ol"), form.querySelector("template"));
const opening = Journal.open();
const others = new BroadcastChannel("retint-deposits");
let token = document.querySelector("meta[name=csrf-token]").content;
let batch = null;
let deposit = null; // what the journal keeps of this deposit
let worker;
let leftOut = 0;
let shortage = ""; // the quota that was reached: why the rest is left out
let reading = 0; // folders that are still being read: what they hold is not listed yet
let startedAt = 0;
let isOver = false;
let expected = 0; // files of a deposit that broke off, and that the browser cannot read by itself

const order = (name, facts = {}) => worker.postMessage({ order: name, ...facts });
const folders = [];
let hasOthers = false; // files that no folder has which the browser lends
const choosing = new Choosing(order, {
  onFolder: (folder) => { folders.push(folder); keepSoon(); },
  onOthers: () => { hasOthers = true; keepSoon(); },
});

/** Whether the photo of a trial is deposited as well. */
const includesTrialPhoto = () => form.querySelector(".bring input")?.checked ?? false;

// ── Showing ──────────────────────────────────────────────

const describeLeftOut = () =>
  leftOut === 1 ? "1 file is not a photograph and was left out" : `${formatNumber(leftOut)} files are not photographs and were left out`;

function describeTotal() {
  const { sent, failed } = rows.counts;
  if (expected && !rows.length && !reading) return "Drop the same folder again: only what is missing is sent.";
  if (batch) return `${formatNumber(sent)} of ${pluralize(Math.max(rows.length, expected), "photo")} sent`;
  return [pluralize(rows.length - failed, "photo"), rows.bytes && formatSize(rows.bytes)].filter(Boolean).join(", ");
}

function describeRest() {
  const { sending, failed } = rows.counts;
  const left = rows.bytes - rows.bytesSent;
  return [
    reading && "the folder is being read",
    batch && rows.bytes && `${formatSize(rows.bytesSent)} of ${formatSize(rows.bytes)}`,
    rows.bytesSent > 0 && left > 0 && sending && `about ${formatDuration((left / rows.bytesSent) * ((performance.now() - startedAt) / 1000))} left`,
    failed && `${formatNumber(failed)} ${shortage ? "left out" : `could not be ${batch ? "sent" : "read"}`}`,
    leftOut && describeLeftOut(),
    isOver && rows.length && rows.length < expected && "drop the other files again, too",
  ].filter(Boolean).join(" · ");
}

function showTotals() {
  const { waiting, sending, sent, failed } = rows.counts;
  form.querySelector(".sending").hidden = !rows.length && !leftOut && !batch;
  part("total").textContent = describeTotal();
  part("rest").textContent = describeRest();
  part("meter").value = rows.bytes ? rows.bytesSent / rows.bytes : sent / Math.max(1, rows.length);
  const ready = rows.length - (batch ? 0 : failed) + (includesTrialPhoto() ? 1 : 0) + (part("address").value.trim() ? 1 : 0);
  part("start").textContent = `Deposit ${ready ? pluralize(ready, "photo") : "photos"}`;
  part("start").disabled = !ready;
  part("again").hidden = !(batch && failed && !waiting && !sending);
  part("filters").hidden = !failed && !rows.only;
  part("problems").textContent = formatNumber(failed);
  part("shortage").hidden = !(shortage && failed);
  part("shortage").querySelector("p").textContent = `${shortage} What was sent is kept. Retry later, here or when you come back to this page.`;
  rows.render();
}

/** News is frequent, so it is shown once a frame. */
let isDue = false;
function showSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; showTotals(); });
}

let saidAt = 0;
function say() {
  if (!isOver && performance.now() < saidAt + SAY_AFTER_MS) return;
  saidAt = performance.now();
  part("said").textContent = [describeTotal(), describeRest()].filter(Boolean).join(" · ");
}

function showProblem(sentence) {
  part("problem").hidden = !sentence;
  part("problem").querySelector("p").textContent = sentence;
}

// ── What the worker tells ────────────────────────────────

function onNews({ added = [], changed = new Map(), ...news }) {
  for (const record of added) rows.add({ text: record.size ? formatSize(record.size) : "", ...record });
  let newest = null;
  for (const [number, facts] of changed) {
    if (facts.text === "") facts.text = facts.state === "waiting" ? formatSize(rows.records[number].size) : "";
    rows.change(number, facts);
    if (facts.state === "sending") newest = number;
  }
  leftOut += news.leftOut ?? 0;
  reading = news.reading ?? reading;
  if (newest !== null) rows.follow(newest);
  if (news.hasEnded) part("ended").hidden = false;
  if (news.shortage) shortage = news.shortage;
  if ("waitsFor" in news) {
    part("waits").hidden = !news.waitsFor;
    part("waits").querySelector("p").textContent = news.waitsFor ?? "";
  }
  isOver = Boolean(news.isDone);
  keepSoon();
  say();
  if (isOver && isWhole()) leave();
  showSoon();
}

/** Whether nothing is left to be sent or dropped. */
const isWhole = () => !rows.counts.failed && rows.length >= expected;

/** Show the batch: all is sent, and there is nothing to go on with. */
async function leave() {
  await (await opening).forget(batch.id).catch(console.warn);
  location.assign(batch.page);
}

/** Start the worker. Returns false in a browser without workers that are modules. */
function startWorker() {
  let hasModules = false;
  const options = { get type() { hasModules = true; return "module"; } };
  worker = new Worker(new URL("deposit/worker.js", import.meta.url), options);
  if (!hasModules) worker.terminate();
  worker.addEventListener("message", ({ data }) => onNews(data));
  worker.addEventListener("error", (event) => showProblem(`The page cannot send files: ${event.message || "its thread did not start"}. Reload it.`));
  order("start", { leftOut: form.dataset.leftOut });
  return hasModules;
}

// ── Going on with what broke off ─────────────────────────

/** Keep what is needed to go on. A browser that cannot, for want of room, goes on without. */
async function keep() {
  if (isOver && isWhole()) return;
  Object.assign(deposit, { folders, hasOthers, total: Math.max(rows.length, expected), sent: rows.counts.sent, at: Date.now() });
  await (await opening).keepDeposit(deposit).catch(console.warn);
}

let isKeeping = false;
function keepSoon() {
  if (!deposit || isKeeping || isOver) return;
  isKeeping = true;
  setTimeout(() => { isKeeping = false; keep(); }, KEEP_AFTER_MS);
}

/** Whether another tab is at a deposit. */
const isElsewhere = (id) =>
  new Promise((resolve) => {
    const listen = ({ data }) => { if (data.has === id) resolve(true); };
    others.addEventListener("message", listen);
    others.postMessage({ asks: id });
    setTimeout(() => { others.removeEventListener("message", listen); resolve(false); }, ANSWER_MS);
  });
others.addEventListener("message", ({ data }) => {
  if (batch && data.asks === batch.id) others.postMessage({ has: batch.id });
});

/** Offer to go on with the newest deposit that broke off, of this batch if the page is one's. */
async function offerToGoOn() {
  const here = form.dataset.batch && JSON.parse(form.dataset.batch).id;
  for (const found of await (await opening).findDeposits(form.dataset.person)) {
    if ((here && found.id !== here) || (await isElsewhere(found.id))) continue;
    const { name, sent, total } = found;
    const how = found.folders.length && !found.hasOthers
      ? ""
      : " Go on, then drop the same folder or files again: only what is missing is sent.";
    part("story").textContent = `The deposit “${name}” broke off: ${formatNumber(sent)} of ${pluralize(total, "photo")} sent.${how}`;
    part("broken-off").hidden = false;
    part("resume").onclick = () => resume(found);
    part("forget").onclick = async () => {
      part("broken-off").hidden = true;
      await (await opening).forget(found.id);
    };
    return;
  }
}

/** Ask for a folder that the browser has lent before. */
async function isAllowed(folder) {
  if ((await folder.queryPermission({ mode: "read" })) === "granted") return true;
  return (await folder.requestPermission({ mode: "read" })) === "granted";
}

async function resume(found) {
  const lent = [];
  for (const folder of found.folders) if (await isAllowed(folder)) lent.push(folder);
  part("broken-off").hidden = true;
  for (const [name, value] of found.fields) fillIn(name, value);
  hasOthers = found.hasOthers;
  const isLent = lent.length === found.folders.length && lent.length && !hasOthers;
  expected = isLent ? 0 : found.total;
  begin(found.batch, found, true);
  for (const folder of lent) choosing.addFolder(folder);
  if (lent.length < found.folders.length) showProblem("The browser may not read the folder. Drop it again: only what is missing is sent.");
}

function fillIn(name, value) {
  for (const field of form.querySelectorAll(`[data-fixed] [name="${CSS.escape(name)}"]`)) {
    if (["radio", "checkbox"].includes(field.type)) field.checked = field.value === value;
    else field.value = value;
  }
}

// ── Starting ─────────────────────────────────────────────

/** The form's fields without its files. */
function formFields() {
  const data = new FormData(form);
  for (const [name, value] of [...data]) if (value instanceof File) data.delete(name);
  return data;
}

/** Open the batch that receives the files. Returns it, or the fault. */
async function openBatch() {
  if (form.dataset.batch) return { opened: JSON.parse(form.dataset.batch) };
  try {
    const answer = await fetch(form.dataset.opens, { method: "POST", body: formFields(), headers: { "X-CSRFToken": token } });
    const text = await answer.text();
    const opened = parseAnswer(text);
    if (answer.status === 201 && !answer.redirected && opened.uploads) return { opened };
    return { fault: findFault(answer.status, answer.redirected, text) };
  } catch {
    return { fault: { message: "The portal cannot be reached." } };
  }
}

/** Open the batch, and send what is listed. */
async function start() {
  part("start").disabled = true;
  showProblem("");
  const { opened, fault } = await openBatch();
  if (opened) begin(opened, { name: form.querySelector("[name=name]")?.value ?? form.dataset.batchName, fields: [...formFields()] });
  else if (fault.kind === "signIn") part("ended").hidden = false;
  else showProblem(fault.message);
  showTotals();
}

/** Send what is listed, and what comes, into a batch. */
function begin(opened, { name, fields }, awaitsFiles = false) {
  batch = opened;
  deposit = { id: batch.id, person: form.dataset.person, batch, name, fields };
  startedAt = performance.now();
  order("begin", { batch, token, awaitsFiles });
  part("broken-off").hidden = true;
  for (const set of form.querySelectorAll("[data-fixed]")) set.disabled = true;
  part("start").hidden = true;
  form.classList.add("under-way");
  part("open").href = batch.page;
  part("receipt").href = batch.receipt;
  for (const link of ["open", "receipt"]) part(link).hidden = false;
  keep();
  showTotals();
}

/** Go on after a sign-in in another tab: a new session has another token. */
async function goOn() {
  part("go-on").disabled = true;
  part("still").hidden = true;
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || answer.redirected || !page.querySelector("form.deposit")) throw new Error("signed out");
    token = page.querySelector("meta[name=csrf-token]").content;
    form.querySelector("[name=csrf_token]").value = token;
    part("ended").hidden = true;
    if (batch) order("signIn", { token });
    else await start();
  } catch {
    part("still").hidden = false;
  }
  part("go-on").disabled = false;
}

function retry() {
  shortage = "";
  rows.records.forEach(({ state, name }, number) => {
    if (state === "failed" && !choosing.readAgain(number, name)) order("again", { number });
  });
  rows.show("");
  showFilter();
}

// ── What a person does ───────────────────────────────────

/** Add a web address to the list. Returns false if it is not valid. */
function addAddress() {
  const input = part("address");
  const address = input.value.trim();
  if (!address) return true;
  if (!input.reportValidity()) return false;
  order("address", { address });
  input.value = "";
  return true;
}

function showFilter() {
  for (const button of form.querySelectorAll("[data-filter]")) button.ariaPressed = button.dataset.filter === rows.only;
  showTotals();
}

function listen() {
  const [files, folder] = ["files", "folder"].map((id) => document.getElementById(id));
  for (const input of [files, folder]) input.addEventListener("change", () => choosing.addChosen(input));
  form.querySelector("[data-opens=files]").addEventListener("click", () => files.click());
  form.querySelector("[data-opens=folder]").addEventListener("click", () => choosing.chooseFolder(folder));
  const drop = form.querySelector(".drop");
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    choosing.addDropped(event.dataTransfer.items);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const hasAny = rows.length || includesTrialPhoto() || part("address").value.trim();
    if (!batch && addAddress() && hasAny) await start();
  });
  for (const button of form.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => { rows.show(button.dataset.filter); showFilter(); });
  }
  part("go-on").addEventListener("click", goOn);
  part("again").addEventListener("click", retry);
  part("add").addEventListener("click", addAddress);
  part("address").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && part("address").value.trim()) { event.preventDefault(); addAddress(); }
  });
  for (const input of form.querySelectorAll("[data-address], .bring input")) input.addEventListener("input", showTotals);
  addEventListener("beforeunload", (event) => {
    if (batch && (reading || rows.counts.waiting || rows.counts.sending)) event.preventDefault();
  });
}

async function showMemory() {
  part("remembers").textContent = describeMemory((await opening).isKept);
}

if (startWorker()) {
  listen();
  form.classList.add("live");
  for (const shown of form.querySelectorAll("[data-script]")) shown.hidden = false;
  for (const plain of form.querySelectorAll("[data-plain]")) plain.hidden = true;
  showTotals();
  showMemory();
  offerToGoOn();
}
