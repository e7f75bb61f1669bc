// The deposit form: choose or drop files or a folder, send each as a request of its own, retry those that failed.
// Without JavaScript the same form works as well; then the browser sends all files in one request.

const PARALLEL = 4;
const RETRY_AFTER_MS = [1000, 4000];
const SYSTEM_FILES = /(^|\/)(\.|__MACOSX\/|thumbs\.db$|desktop\.ini$)/i; // files that operating systems leave in folders

const form = document.querySelector("form.deposit");
const drop = form.querySelector(".drop");
const list = form.querySelector(".sending ol");
const template = form.querySelector("template");
const token = document.querySelector("meta[name=csrf-token]").content;
const part = (name) => form.querySelector(`[data-${name}]`);

const items = []; // one a file: {file, name, row, state, sent}
let batch = null;
let startedAt = 0;
let isLeaving = false;
let leftOut = 0;

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

/** List the files of a dropped file or folder. A directory reader returns at most a hundred entries at a time. */
async function listFiles(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return found;
    for (const inner of entries) found.push(...(await listFiles(inner)));
  }
}

const waitingText = (item) => (item.address ? "to be downloaded" : formatSize(item.file.size));

function addFiles(files, more = {}) {
  for (const [file, name] of files) {
    if (SYSTEM_FILES.test(name)) { leftOut += 1; continue; }
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = name;
    row.querySelector(".name").title = name;
    const item = { file, name, row, sent: 0, ...more };
    setState(item, "waiting", waitingText(item));
    items.push(item);
    list.append(row);
  }
  showTotals();
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
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length ? [] : [...event.dataTransfer.files].map((file) => [file, file.name]);
  addFiles(files);
  for (const entry of entries) addFiles(await listFiles(entry));
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
  form.querySelector(".sending").hidden = !items.length;
  part("total").textContent = batch
    ? `${countState("sent").toLocaleString("en")} of ${pluralize(items.length, "photo")} sent`
    : [pluralize(items.length, "photo"), total && formatSize(total)].filter(Boolean).join(", ");
  part("rest").textContent = [
    batch && total && `${formatSize(sent)} of ${formatSize(total)}`,
    sent > 0 && sent < total && countState("sending") && `about ${formatDuration(((total - sent) / sent) * secondsSince(startedAt))} left`,
    countState("failed") && `${countState("failed")} could not be sent`,
    leftOut && `${pluralize(leftOut, "system file")} left out`,
  ].filter(Boolean).join(" · ");
  part("meter").value = total ? sent / total : countState("sent") / Math.max(1, items.length);
  const ready = items.length + (includesTrialPhoto() ? 1 : 0) + (part("address").value.trim() ? 1 : 0);
  part("start").textContent = `Deposit ${ready ? pluralize(ready, "photo") : "photos"}`;
  part("start").disabled = !ready;
  part("again").hidden = !(batch && countState("failed") && !countState("waiting") && !countState("sending"));
  if (batch && !isLeaving && countState("sent") === items.length) {
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

const errorDetail = (text, fallback) => {
  try { return JSON.parse(text).detail || fallback; } catch { return fallback; }
};

/** Send one file once. Resolves to null, or to the reason of the failure and whether a retry can help. */
const sendFile = (item) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const meter = item.row.querySelector(".meter");
    request.open("PUT", `${batch.files}?name=${encodeURIComponent(item.name)}`);
    request.setRequestHeader("X-CSRFToken", token);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      item.sent = event.loaded;
      meter.value = event.lengthComputable ? event.loaded / event.total : 0;
      item.row.querySelector(".state").textContent = `${Math.round(meter.value * 100)} %`;
      showTotalsSoon();
    });
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve(null);
      const reason = errorDetail(request.responseText, `The portal answered ${request.status}.`);
      resolve({ reason, canRetry: request.status >= 500 || request.status === 429 });
    });
    request.addEventListener("error", () => resolve({ reason: "The connection was lost.", canRetry: true }));
    request.send(item.file);
  });

/** Let the portal download one address once. Returns the same as `sendFile`. */
async function sendAddress(item) {
  try {
    const body = new URLSearchParams({ address: item.address });
    const answer = await fetch(batch.addresses, { method: "POST", body, headers: { "X-CSRFToken": token } });
    if (answer.ok) return null;
    return { reason: errorDetail(await answer.text(), `The portal answered ${answer.status}.`), canRetry: answer.status >= 500 };
  } catch {
    return { reason: "The connection was lost.", canRetry: true };
  }
}

async function send(item) {
  setState(item, "sending", item.address ? "being downloaded" : "0 %");
  if (!list.matches(":hover, :focus-within")) list.scrollTop = item.row.offsetTop - list.clientHeight / 2;
  for (const wait of [...RETRY_AFTER_MS, null]) {
    const fault = await (item.address ? sendAddress(item) : sendFile(item));
    if (!fault) return setState(item, "sent", "sent");
    item.sent = 0;
    if (!fault.canRetry || wait === null) return setState(item, "failed", "not sent", fault.reason);
    setState(item, "sending", "retrying", fault.reason);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

let running = 0;
function sendWaiting() {
  while (running < PARALLEL) {
    const item = items.find(({ state }) => state === "waiting");
    if (!item) break;
    running += 1;
    send(item).finally(() => { running -= 1; showTotals(); sendWaiting(); });
  }
  showTotals();
}

/** Open the batch that receives the files. */
async function openBatch() {
  const response = await fetch(form.dataset.opens, { method: "POST", body: formFields(), headers: { "X-CSRFToken": token } });
  if (!response.ok) throw new Error(errorDetail(await response.text(), `The portal answered ${response.status}.`));
  return response.json();
}

/** The form's fields without its files. */
function formFields() {
  const data = new FormData(form);
  for (const [name, value] of [...data]) if (value instanceof File) data.delete(name);
  return data;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (batch || !addAddress() || !(items.length || includesTrialPhoto())) return;
  part("start").disabled = true;
  part("problem").hidden = true;
  try {
    batch = await openBatch();
  } catch (error) {
    part("problem").hidden = false;
    part("problem").querySelector("p").textContent = error.message === "Failed to fetch" ? "The portal cannot be reached." : error.message;
    return showTotals();
  }
  for (const set of form.querySelectorAll("[data-fixed]")) set.disabled = true;
  part("start").hidden = true;
  form.classList.add("under-way");
  startedAt = performance.now();
  part("open").href = batch.page;
  part("open").hidden = false;
  sendWaiting();
});

part("again").addEventListener("click", () => {
  for (const item of items) if (item.state === "failed") setState(item, "waiting", waitingText(item));
  sendWaiting();
});

addEventListener("beforeunload", (event) => {
  if (batch && items.some(({ state }) => state === "waiting" || state === "sending")) event.preventDefault();
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
