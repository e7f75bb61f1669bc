// Deposit by script: drop files or a folder, watch each of them go, send again what failed.
// The same form works without this file; then the browser sends it as one request.

const PARALLEL = 4;
const RETRY_AFTER_MS = [1000, 4000];
const LEFT_BEHIND = /(^|\/)(\.|__MACOSX\/|thumbs\.db$|desktop\.ini$)/i; // what systems leave in folders

const form = document.querySelector("form.deposit");
const drop = form.querySelector(".drop");
const list = form.querySelector(".sending ol");
const template = form.querySelector("template");
const token = document.querySelector("meta[name=csrf-token]").content;
const part = (name) => form.querySelector(`[data-${name}]`);

const all = []; // every file: {file, name, row, state, sent}
let batch = null;
let startedAt = 0;
let isLeaving = false;
let leftOut = 0;

/** Whether the photo of a trial comes along. */
const isBrought = () => form.querySelector(".bring input")?.checked ?? false;

// ── Words ────────────────────────────────────────────────

const size = (bytes) => {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
};
const span = (seconds) => (seconds < 55 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
const secondsSince = (moment) => (performance.now() - moment) / 1000;
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

// ── Choosing ─────────────────────────────────────────────

/** Read a dropped folder to its end; a directory reader hands out at most a hundred entries a time. */
async function read(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return found;
    for (const inner of entries) found.push(...(await read(inner)));
  }
}

const waits = (item) => (item.address ? "to be fetched" : size(item.file.size));

function add(files, more = {}) {
  for (const [file, name] of files) {
    if (LEFT_BEHIND.test(name)) { leftOut += 1; continue; }
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = name;
    row.querySelector(".name").title = name;
    const item = { file, name, row, sent: 0, ...more };
    mark(item, "waiting", waits(item));
    all.push(item);
    list.append(row);
  }
  sum();
  if (batch) pump();
}

/** Take an address into the list; the portal fetches what is there. */
function addAddress() {
  const input = part("address");
  const address = input.value.trim();
  if (!address) return true;
  if (!input.reportValidity()) return false;
  add([[{ size: 0 }, address]], { address });
  input.value = "";
  return true;
}

const chosen = (input) => [...input.files].map((file) => [file, file.webkitRelativePath || file.name]);

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => { add(chosen(input)); input.value = ""; });
}
for (const button of form.querySelectorAll("[data-opens]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.opens).click());
}
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  // The items die with this event: take all entries before the first wait.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const loose = entries.length ? [] : [...event.dataTransfer.files].map((file) => [file, file.name]);
  add(loose);
  for (const entry of entries) add(await read(entry));
});

// ── Showing ──────────────────────────────────────────────

function mark(item, state, words, reason = "") {
  item.state = state;
  item.row.dataset.state = state;
  item.row.querySelector(".state").textContent = words;
  item.row.querySelector(".reason").textContent = reason;
  item.row.querySelector(".reason").hidden = !reason;
}

function sum() {
  const of = (state) => all.filter((item) => item.state === state).length;
  const total = all.reduce((bytes, item) => bytes + item.file.size, 0);
  const sent = all.reduce((bytes, item) => bytes + (item.state === "sent" ? item.file.size : item.sent), 0);
  form.querySelector(".sending").hidden = !all.length;
  part("total").textContent = batch
    ? `${of("sent").toLocaleString("en")} of ${count(all.length, "photo")} sent`
    : [count(all.length, "photo"), total && size(total)].filter(Boolean).join(", ");
  part("rest").textContent = [
    batch && total && `${size(sent)} of ${size(total)}`,
    sent > 0 && sent < total && of("sending") && `about ${span(((total - sent) / sent) * secondsSince(startedAt))} left`,
    of("failed") && `${of("failed")} could not be sent`,
    leftOut && `${count(leftOut, "system file")} left out`,
  ].filter(Boolean).join(" · ");
  part("meter").value = total ? sent / total : of("sent") / Math.max(1, all.length);
  const ready = all.length + (isBrought() ? 1 : 0) + (part("address").value.trim() ? 1 : 0);
  part("start").textContent = `Deposit ${ready ? count(ready, "photo") : "photos"}`;
  part("start").disabled = !ready;
  part("again").hidden = !(batch && of("failed") && !of("waiting") && !of("sending"));
  if (batch && !isLeaving && of("sent") === all.length) {
    isLeaving = true;
    location.assign(batch.page);
  }
}

/** A progress event comes often, and counting thousands of files takes a moment: once a frame is enough. */
let isDue = false;
function sumSoon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; sum(); });
}

// ── Sending ──────────────────────────────────────────────

const detail = (text, otherwise) => {
  try { return JSON.parse(text).detail || otherwise; } catch { return otherwise; }
};

/** One try to send one file. Settles with null, or with what went wrong and whether another try can help. */
const put = (item) =>
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
      sumSoon();
    });
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve(null);
      const reason = detail(request.responseText, `The portal answered ${request.status}.`);
      resolve({ reason, again: request.status >= 500 || request.status === 429 });
    });
    request.addEventListener("error", () => resolve({ reason: "The connection was lost.", again: true }));
    request.send(item.file);
  });

/** The same for an address. */
async function fetchFrom(item) {
  try {
    const body = new URLSearchParams({ address: item.address });
    const answer = await fetch(batch.addresses, { method: "POST", body, headers: { "X-CSRFToken": token } });
    if (answer.ok) return null;
    return { reason: detail(await answer.text(), `The portal answered ${answer.status}.`), again: answer.status >= 500 };
  } catch {
    return { reason: "The connection was lost.", again: true };
  }
}

async function send(item) {
  mark(item, "sending", item.address ? "being fetched" : "0 %");
  if (!list.matches(":hover, :focus-within")) list.scrollTop = item.row.offsetTop - list.clientHeight / 2;
  for (const wait of [...RETRY_AFTER_MS, null]) {
    const fault = await (item.address ? fetchFrom(item) : put(item));
    if (!fault) return mark(item, "sent", "sent");
    item.sent = 0;
    if (!fault.again || wait === null) return mark(item, "failed", "not sent", fault.reason);
    mark(item, "sending", "trying again", fault.reason);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

let running = 0;
function pump() {
  while (running < PARALLEL) {
    const item = all.find(({ state }) => state === "waiting");
    if (!item) break;
    running += 1;
    send(item).finally(() => { running -= 1; sum(); pump(); });
  }
  sum();
}

/** Open the batch that the files go into. */
async function open() {
  const response = await fetch(form.dataset.opens, { method: "POST", body: fields(), headers: { "X-CSRFToken": token } });
  if (!response.ok) throw new Error(detail(await response.text(), `The portal answered ${response.status}.`));
  return response.json();
}

function fields() {
  const data = new FormData(form);
  for (const [name, value] of [...data]) if (value instanceof File) data.delete(name);
  return data;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (batch || !addAddress() || !(all.length || isBrought())) return;
  part("start").disabled = true;
  part("problem").hidden = true;
  try {
    batch = await open();
  } catch (error) {
    part("problem").hidden = false;
    part("problem").querySelector("p").textContent = error.message === "Failed to fetch" ? "The portal cannot be reached." : error.message;
    return sum();
  }
  for (const set of form.querySelectorAll("[data-fixed]")) set.disabled = true;
  part("start").hidden = true;
  form.classList.add("under-way");
  startedAt = performance.now();
  part("open").href = batch.page;
  part("open").hidden = false;
  pump();
});

part("again").addEventListener("click", () => {
  for (const item of all) if (item.state === "failed") mark(item, "waiting", waits(item));
  pump();
});

addEventListener("beforeunload", (event) => {
  if (batch && all.some(({ state }) => state === "waiting" || state === "sending")) event.preventDefault();
});

for (const input of form.querySelectorAll("[data-address], .bring input")) input.addEventListener("input", sum);
part("add").addEventListener("click", addAddress);
part("address").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && part("address").value.trim()) { event.preventDefault(); addAddress(); }
});

form.classList.add("live");
for (const shown of form.querySelectorAll("[data-script]")) shown.hidden = false;
for (const plain of form.querySelectorAll("[data-plain]")) plain.hidden = true;
sum();
