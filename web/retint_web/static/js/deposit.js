// The deposit form: choose or drop files or a folder, send each as a request of its own, retry those that failed.
// Without JavaScript the same form works as well; then the browser sends all files in one request.

const PARALLEL = 4;
const RETRY_AFTER_MS = [1000, 4000];
const ENTRY_MS = 60_000; // how long the browser may take to read one entry of a dropped folder
const LONGEST_NAME = 7900; // characters of a name in an address: servers take 8190 in all
const SENDING = new Set(["waiting", "sending"]);

const form = document.querySelector("form.deposit");
const LEFT_OUT = new RegExp(form.dataset.leftOut, "i"); // what is no photograph, by its name: retint/folders.py
const drop = form.querySelector(".drop");
const list = form.querySelector(".sending ol");
const template = form.querySelector("template");
let token = document.querySelector("meta[name=csrf-token]").content;
const part = (name) => form.querySelector(`[data-${name}]`);

const items = []; // one a file: {file, name, row, state, sent}, and `address` or `entry` where there is no file yet
let batch = null;
let hasEnded = false; // whether the session has ended: nothing is sent until somebody signs in again
let startedAt = 0;
let isLeaving = false;
let leftOut = 0;
let reading = 0; // folders that are still being read: what they hold is not listed yet

/** Whether the photo of a trial is deposited as well. */
const includesTrialPhoto = () => form.querySelector(".bring input")?.checked ?? false;

// ── Texts ────────────────────────────────────────────────

const formatSize = (bytes) => {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
};
const formatDuration = (seconds) => (seconds < 55 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
const secondsSince = (time) => (performance.now() - time) / 1000;
const pluralize = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

// ── Choosing ─────────────────────────────────────────────

/** Whether a file is no photograph. What somebody chose, the outermost folder, is not judged by its name. */
const isLeftOut = (name) => LEFT_OUT.test(name.replace(/^[^/]+\//, ""));

/** Write out lone surrogates: names may have them, addresses cannot. */
const wellFormed = (name) => name.replace(/[\ud800-\udfff]/gu, (half) => `<U+${half.charCodeAt(0).toString(16).toUpperCase()}>`);

/** Ask a dropped entry for something. It answers by callbacks, or, as some do, not at all. */
const ask = (call) =>
  new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("it does not answer")), ENTRY_MS);
    call(resolve, reject);
  });

/** Add a dropped file, or all files of a dropped folder. An entry that cannot be read gets a row that says so. */
async function addEntry(entry) {
  const name = entry.fullPath.replace(/^\//, "");
  try {
    if (!entry.isFile) return await addFolder(entry);
    if (isLeftOut(name)) leftOut += 1;
    else addFiles([[await ask((resolve, reject) => entry.file(resolve, reject)), name]]);
  } catch (error) {
    if (isLeftOut(`${name}/`)) leftOut += 1;
    else addUnreadable(entry, name, error);
  }
  showTotalsSoon();
}

/** A directory reader returns at most a hundred entries at a time. */
async function addFolder(entry) {
  const reader = entry.createReader();
  for (;;) {
    const entries = await ask((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return;
    for (const inner of entries) await addEntry(inner);
  }
}

function addUnreadable(entry, name, error) {
  const item = addItem({ file: { size: 0 }, name, entry });
  setState(item, "failed", "not read", `It cannot be read: ${error.message || error.name}.`);
}

const waitingText = (item) => (item.address ? "to be downloaded" : formatSize(item.file.size));

function addItem(facts) {
  const row = template.content.firstElementChild.cloneNode(true);
  const item = { ...facts, name: wellFormed(facts.name), row, sent: 0 };
  row.querySelector(".name").textContent = item.name;
  row.querySelector(".name").title = item.name;
  items.push(item);
  list.append(row);
  return item;
}

function addFiles(files, more = {}) {
  for (const [file, name] of files) {
    if (!more.address && isLeftOut(name)) { leftOut += 1; continue; }
    const item = addItem({ file, name, ...more });
    setState(item, "waiting", waitingText(item));
  }
  showTotalsSoon();
  if (batch) sendWaiting();
}

/** Add a web address to the list. Returns false if it is not valid. */
function addAddress() {
  const input = part("address");
  const address = input.value.trim();
  if (!address) return true;
  if (!input.reportValidity()) return false;
  addFiles([[{ size: 0 }, address]], { address });
  input.value = "";
  return true;
}

const chosenFiles = (input) => [...input.files].map((file) => [file, file.webkitRelativePath || file.name]);

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => { addFiles(chosenFiles(input)); input.value = ""; });
}
for (const button of form.querySelectorAll("[data-opens]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.opens).click());
}
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  // The items are valid only during this event: read all entries before the first await.
  const dropped = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
  const found = dropped.map((item) => item.webkitGetAsEntry?.() || item.getAsFile()).filter(Boolean);
  reading += 1;
  for (const each of found) {
    if (each instanceof File) addFiles([[each, each.name]]);
    else await addEntry(each);
  }
  reading -= 1;
  showTotals();
});

// ── Showing ──────────────────────────────────────────────

function setState(item, state, text, reason = "") {
  item.state = state;
  item.row.dataset.state = state;
  item.row.querySelector(".state").textContent = text;
  item.row.querySelector(".reason").textContent = reason;
  item.row.querySelector(".reason").hidden = !reason;
}

function showTotals() {
  const countState = (state) => items.filter((item) => item.state === state).length;
  const total = items.reduce((bytes, item) => bytes + item.file.size, 0);
  const sent = items.reduce((bytes, item) => bytes + (item.state === "sent" ? item.file.size : item.sent), 0);
  form.querySelector(".sending").hidden = !items.length && !leftOut;
  part("total").textContent = batch
    ? `${countState("sent").toLocaleString("en")} of ${pluralize(items.length, "photo")} sent`
    : [pluralize(items.length - countState("failed"), "photo"), total && formatSize(total)].filter(Boolean).join(", ");
  part("rest").textContent = [
    reading && "the folder is being read",
    batch && total && `${formatSize(sent)} of ${formatSize(total)}`,
    sent > 0 && sent < total && countState("sending") && `about ${formatDuration(((total - sent) / sent) * secondsSince(startedAt))} left`,
    countState("failed") && `${countState("failed").toLocaleString("en")} could not be ${batch ? "sent" : "read"}`,
    leftOut && (leftOut === 1 ? "1 file is not a photograph and was left out" : `${leftOut.toLocaleString("en")} files are not photographs and were left out`),
  ].filter(Boolean).join(" · ");
  part("meter").value = total ? sent / total : countState("sent") / Math.max(1, items.length);
  const ready = items.length - (batch ? 0 : countState("failed")) + (includesTrialPhoto() ? 1 : 0) + (part("address").value.trim() ? 1 : 0);
  part("start").textContent = `Deposit ${ready ? pluralize(ready, "photo") : "photos"}`;
  part("start").disabled = !ready;
  part("again").hidden = !(batch && countState("failed") && !countState("waiting") && !countState("sending"));
  if (batch && !isLeaving && !reading && countState("sent") === items.length) {
    isLeaving = true;
    location.assign(batch.page);
  }
}

/** Progress events are frequent and counting thousands of files is slow, so totals are shown once a frame. */
let isDue = false;
function showTotalsSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; showTotals(); });
}

// ── Sending ──────────────────────────────────────────────

/** The JSON object of an answer; an empty one where it is anything else. */
const parseAnswer = (text) => {
  try { return Object(JSON.parse(text)); } catch { return {}; }
};

/**
 * Judge an answer. Only 201 with an id says that the portal has what was sent: a sign-in page says 200, too.
 * Returns null, or the fault: {reason, canRetry, hasEnded}.
 */
function findFault(status, isRedirected, text) {
  const { id, detail, code } = parseAnswer(text);
  if (status === 201 && id && !isRedirected) return null;
  if (status === 401 || isRedirected || code === "csrf") return { reason: "The session has ended.", hasEnded: true };
  const reason = detail || (status < 400 ? "The answer did not come from the portal." : `The portal answered ${status}.`);
  return { reason, canRetry: status >= 500 || status === 429 };
}

const CONNECTION_LOST = { reason: "The connection was lost.", canRetry: true };

/** Find out why a file was not sent: the network, or the file itself, which was moved, changed or locked meanwhile. */
async function explainLoss(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return CONNECTION_LOST;
  } catch (error) {
    return { reason: `It cannot be read: ${error.message || error.name}.` };
  }
}

/** Send one file once. Resolves to null or to the fault. */
const sendFile = (item) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const meter = item.row.querySelector(".meter");
    const name = encodeURIComponent(item.name);
    if (name.length > LONGEST_NAME) return resolve({ reason: "Its name is too long. Give its folders shorter names." });
    const address = new URL(`${batch.files}?name=${name}`, location).href;
    request.open("PUT", address);
    request.setRequestHeader("X-CSRFToken", token);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      item.sent = event.loaded;
      meter.value = event.lengthComputable ? event.loaded / event.total : 0;
      item.row.querySelector(".state").textContent = `${Math.round(meter.value * 100)} %`;
      showTotalsSoon();
    });
    request.addEventListener("load", () => resolve(findFault(request.status, request.responseURL !== address, request.responseText)));
    for (const end of ["error", "abort", "timeout"]) request.addEventListener(end, () => resolve(explainLoss(item.file)));
    request.send(item.file);
  });

/** Let the portal download one address once. Returns the same as `sendFile`. */
async function sendAddress(item) {
  try {
    const body = new URLSearchParams({ address: item.address });
    const answer = await fetch(batch.addresses, { method: "POST", body, headers: { "X-CSRFToken": token } });
    return findFault(answer.status, answer.redirected, await answer.text());
  } catch {
    return CONNECTION_LOST;
  }
}

async function send(item) {
  setState(item, "sending", item.address ? "being downloaded" : "0 %");
  if (!list.matches(":hover, :focus-within")) list.scrollTop = item.row.offsetTop - list.clientHeight / 2;
  for (const wait of [...RETRY_AFTER_MS, null]) {
    const fault = await (item.address ? sendAddress(item) : sendFile(item));
    if (!fault) return setState(item, "sent", "sent");
    item.sent = 0;
    if (fault.hasEnded) return endSession(item);
    if (!fault.canRetry || wait === null) return setState(item, "failed", "not sent", fault.reason);
    setState(item, "sending", "retrying", fault.reason);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

let running = 0;
function sendWaiting() {
  while (running < PARALLEL && !hasEnded) {
    const item = items.find(({ state }) => state === "waiting");
    if (!item) break;
    running += 1;
    // Whatever happens to one file, the others go on.
    send(item)
      .catch((error) => setState(item, "failed", "not sent", `It cannot be sent: ${error.message}.`))
      .finally(() => { running -= 1; showTotals(); sendWaiting(); });
  }
  showTotals();
}

/** Stop until somebody signs in again. The list stays, and what was not sent waits. */
function endSession(item) {
  if (item) setState(item, "waiting", "not sent: sign in again");
  hasEnded = true;
  part("ended").hidden = false;
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
    hasEnded = false;
    part("ended").hidden = true;
    if (batch) sendWaiting();
    else await start();
  } catch {
    part("still").hidden = false;
  }
  part("go-on").disabled = false;
}

/** Open the batch that receives the files. Returns null, or the fault. */
async function openBatch() {
  try {
    const answer = await fetch(form.dataset.opens, { method: "POST", body: formFields(), headers: { "X-CSRFToken": token } });
    const text = await answer.text();
    const { page, files, addresses } = parseAnswer(text);
    if (answer.status !== 201 || answer.redirected || !files) return findFault(answer.status, answer.redirected, text);
    batch = { page, files, addresses };
    return null;
  } catch {
    return { reason: "The portal cannot be reached." };
  }
}

/** The form's fields without its files. */
function formFields() {
  const data = new FormData(form);
  for (const [name, value] of [...data]) if (value instanceof File) data.delete(name);
  return data;
}

/** Open the batch, and send what is listed. */
async function start() {
  part("start").disabled = true;
  part("problem").hidden = true;
  const fault = await openBatch();
  if (fault?.hasEnded) endSession();
  else if (fault) {
    part("problem").hidden = false;
    part("problem").querySelector("p").textContent = fault.reason;
  }
  if (fault) return showTotals();
  for (const set of form.querySelectorAll("[data-fixed]")) set.disabled = true;
  part("start").hidden = true;
  form.classList.add("under-way");
  startedAt = performance.now();
  part("open").href = batch.page;
  part("open").hidden = false;
  sendWaiting();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!batch && addAddress() && (items.length || includesTrialPhoto())) await start();
});

part("go-on").addEventListener("click", goOn);

part("again").addEventListener("click", async () => {
  for (const item of items.filter(({ state }) => state === "failed")) {
    if (!item.entry) { setState(item, "waiting", waitingText(item)); continue; }
    items.splice(items.indexOf(item), 1);
    item.row.remove();
    await addEntry(item.entry);
  }
  sendWaiting();
});

addEventListener("beforeunload", (event) => {
  if (batch && (reading || items.some(({ state }) => SENDING.has(state)))) event.preventDefault();
});

for (const input of form.querySelectorAll("[data-address], .bring input")) input.addEventListener("input", showTotals);
part("add").addEventListener("click", addAddress);
part("address").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && part("address").value.trim()) { event.preventDefault(); addAddress(); }
});

form.classList.add("live");
for (const shown of form.querySelectorAll("[data-script]")) shown.hidden = false;
for (const plain of form.querySelectorAll("[data-plain]")) plain.hidden = true;
showTotals();
