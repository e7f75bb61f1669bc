// The light table: one key a verdict. What a key or a button says is sent in its order while the next picture is shown;
// the next pictures are loaded before they are asked for.

import { Closer } from "./closer.js";

const table = document.querySelector("#light-table");
const form = document.querySelector("#verdict");
const AHEAD = 3;
const FEW = 8;
const RETRY_MS = 2000;
const ACTED = { approved: "Approved", rejected: "Rejected", rework: "To be made anew", unjudged: "Taken back" };

if (form) start();

function start() {
  const frames = document.querySelector("#frames");
  const look = document.querySelector("#look");
  const [before, after] = ["#before", "#after"].map((id) => look.querySelector(id));
  const note = document.querySelector("#note");
  const rework = document.querySelector("#rework");
  const help = document.querySelector("#help");
  const conflict = document.querySelector("#conflict");
  const closer = new Closer(document.querySelector("#closer"));
  const wanted = table.dataset.verdict;
  const history = [];
  const ahead = new Map();
  let current = frames.querySelector(".frame");
  let loading = null;
  let hasAll = false;

  // --- what is shown ---------------------------------------------------------------------------------------------

  /** Load the pictures of the frames that come next, and forget the others. */
  function preload() {
    const soon = [];
    for (let each = current; each && soon.length <= AHEAD; each = each.nextElementSibling) soon.push(each);
    const addresses = soon.flatMap(({ dataset }) => [dataset.after, dataset.before].filter(Boolean));
    for (const address of ahead.keys()) if (!addresses.includes(address)) ahead.delete(address);
    for (const address of addresses) {
      if (ahead.has(address)) continue;
      const image = new Image();
      image.src = address;
      image.decode?.().catch(() => {});
      ahead.set(address, image);
    }
  }

  function turn(wantsBefore = !look.hasAttribute("data-before")) {
    look.toggleAttribute("data-before", wantsBefore && Boolean(current.dataset.before));
    const isBefore = look.hasAttribute("data-before");
    document.querySelector("#which").textContent = isBefore ? "before" : "after";
    document.querySelector("[data-act=turn]").setAttribute("aria-pressed", String(isBefore));
  }

  function show(frame) {
    frames.querySelector("[aria-current]")?.removeAttribute("aria-current");
    current = frame;
    const { dataset } = frame;
    const link = frame.querySelector("a");
    link.setAttribute("aria-current", "true");
    frames.scrollLeft = frame.offsetLeft - frames.clientWidth / 2 + frame.clientWidth / 2;
    turn(false);
    after.src = dataset.after;
    after.alt = `${dataset.name}, restored`;
    if (dataset.before) before.src = dataset.before;
    before.alt = `${dataset.name}, before`;
    const title = document.querySelector("#shown-name a");
    title.textContent = dataset.name;
    title.href = dataset.page;
    const said = [ACTED[dataset.verdict] && dataset.verdict !== "unjudged" && !dataset.said ? ACTED[dataset.verdict] : dataset.said, dataset.note && `“${dataset.note}”`];
    document.querySelector("#shown-said").textContent = said.filter(Boolean).join(" · ");
    const remark = document.querySelector("#shown-remark");
    remark.textContent = dataset.remark;
    remark.hidden = !dataset.remark;
    form.action = dataset.judge;
    note.value = "";
    preload();
    if (!hasAll && countAfter(frame) < FEW) loadMore();
  }

  function countAfter(frame) {
    let count = 0;
    for (let each = frame.nextElementSibling; each; each = each.nextElementSibling) count += 1;
    return count;
  }

  const tell = (text) => { document.querySelector("#live").textContent = text; };

  function warn(text) {
    conflict.textContent = text;
    conflict.hidden = !text;
  }

  // --- which comes next ------------------------------------------------------------------------------------------

  /** Load the frames after the last one; from the start, if that was the last: some were passed over or came later. */
  async function loadMore(fromStart = false) {
    if (loading) return loading;
    const address = new URL(table.dataset.more, location.href);
    if (!fromStart) address.searchParams.set("after", frames.lastElementChild.dataset.job);
    loading = fetch(address).then(async (answer) => {
      if (!answer.ok || answer.redirected) return;
      const holder = document.createElement("ol");
      holder.innerHTML = await answer.text();
      const added = [...holder.children].filter(({ dataset }) => !find(dataset.job));
      if (!added.length) hasAll = true;
      frames.append(...added);
      preload();
    }).catch(() => {}).finally(() => { loading = null; });
    return loading;
  }

  const find = (job) => frames.querySelector(`[data-job="${job}"]`);

  async function step(by) {
    const sibling = () => (by > 0 ? current.nextElementSibling : current.previousElementSibling);
    if (!sibling() && by > 0 && !hasAll) await loadMore();
    if (sibling()) show(sibling());
    else tell(by > 0 ? "This is the last one." : "This is the first one.");
  }

  /** Show the next result that is to be judged; when there is none, the page says so. */
  async function goOn() {
    const open = (each) => { while (each && each.dataset.verdict !== wanted) each = each.nextElementSibling; return each; };
    let next = open(current.nextElementSibling);
    if (!next && !hasAll) {
      await loadMore();
      next = open(current.nextElementSibling);
    }
    if (!next) {
      await queue;
      hasAll = false;
      await loadMore(true);
      next = open(frames.firstElementChild);
    }
    if (next) show(next);
    else {
      await queue;
      location.assign(table.dataset.here);
    }
  }

  // --- what is said ----------------------------------------------------------------------------------------------

  let queue = Promise.resolve();
  let unsent = 0;

  function send(frame, address, fields, said) {
    const body = new FormData();
    const all = { csrf_token: form.elements.csrf_token.value, seen_sha256: frame.dataset.sha256, ...fields };
    for (const [name, value] of Object.entries(all)) body.set(name, value);
    unsent += 1;
    queue = queue.then(() => deliver(frame, address, body, said)).finally(() => { unsent -= 1; });
  }

  async function deliver(frame, address, body, said) {
    const target = new URL(`${address}/bar`, location.href);
    target.searchParams.set("verdict", wanted);
    for (;;) {
      const answer = await fetch(target, { method: "POST", body, headers: { Accept: "text/html" } }).catch(() => null);
      if (answer?.redirected || answer?.status === 401) return location.reload();
      if (answer?.ok) {
        document.querySelector("#bar").outerHTML = await answer.text();
        document.querySelector(".offline").hidden = true;
        return;
      }
      if (answer && answer.status < 500) return disagree(frame, await answer.json().catch(() => ({})), said);
      document.querySelector(".offline").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Somebody else was faster, or the result is another one by now: say so, and show what is there. */
  async function disagree(frame, problem, said) {
    const entry = history.indexOf(said);
    if (entry >= 0) history.splice(entry, 1);
    warn(`${frame.dataset.name}: ${problem.detail ?? "The verdict was not written."}`);
    const answer = await fetch(frame.dataset.fresh).catch(() => null);
    if (answer?.status === 404) mark(frame, "rework"); // it was made anew
    if (!answer?.ok) return;
    const holder = document.createElement("ol");
    holder.innerHTML = await answer.text();
    const fresh = holder.firstElementChild;
    frame.replaceWith(fresh);
    if (frame === current) show(fresh);
  }

  function say(verdict) {
    warn("");
    const frame = current;
    const said = { frame, from: frame.dataset.verdict };
    history.push(said);
    write(frame, verdict, note.value, said);
    tell(`${ACTED[verdict]}: ${frame.dataset.name}.`);
    goOn();
  }

  function write(frame, verdict, words, said) {
    const from = frame.dataset.verdict;
    mark(frame, verdict, words);
    send(frame, frame.dataset.judge, { verdict, seen_verdict: from, note: words }, said);
  }

  function mark(frame, verdict, words = "") {
    frame.dataset.verdict = verdict;
    frame.dataset.said = "";
    frame.dataset.note = words;
  }

  function makeAnew(change, title) {
    warn("");
    const frame = current;
    const from = frame.dataset.verdict;
    const said = { frame, isFinal: true };
    history.push(said);
    mark(frame, "rework", note.value);
    send(frame, frame.dataset.rework, { change, seen_verdict: from, note: note.value }, said);
    tell(`${title}: ${frame.dataset.name} is made anew.`);
    rework.close();
    goOn();
  }

  function undo() {
    const last = history.pop();
    if (!last && current.dataset.verdict === "unjudged") return tell("There is nothing to undo.");
    const frame = last ? find(last.frame.dataset.job) : current;
    if (last?.isFinal) return tell("Rework is under way: its new result comes back here. The old one is kept.");
    warn("");
    write(frame, last?.from ?? "unjudged", "", null);
    show(frame);
    tell(`Taken back: ${frame.dataset.name}.`);
  }

  // --- keys and buttons ------------------------------------------------------------------------------------------

  const acts = {
    previous: () => step(-1),
    next: () => step(1),
    turn: () => turn(),
    undo,
    help: () => help.showModal(),
    rework: () => rework.showModal(),
    note: () => note.focus(),
    look() {
      if ("film" in current.dataset) return location.assign(current.dataset.page);
      const { dialog } = closer;
      dialog.dataset.image = current.dataset.after;
      dialog.dataset.tiles = current.dataset.tiles ?? "";
      dialog.querySelector("[data-caption]").textContent = current.dataset.name;
      closer.open();
    },
    approve: () => say("approved"),
    reject: () => say("rejected"),
  };
  const keys = {
    a: "approve", x: "reject", r: "rework", n: "note", u: "undo", z: "look", " ": "turn", "?": "help",
    j: "next", k: "previous", ArrowRight: "next", ArrowLeft: "previous",
  };
  const switched = document.querySelector("#keys");
  switched.checked = localStorage.getItem("retint.keys") !== "off";
  switched.addEventListener("change", () => localStorage.setItem("retint.keys", switched.checked ? "on" : "off"));

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target === note && (key === "Escape" || (key === "Enter" && !event.shiftKey))) {
      event.preventDefault();
      return look.focus({ preventScroll: true });
    }
    if (!switched.checked || target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    if (rework.open && /^[1-9]$/.test(key)) return rework.querySelectorAll("[name=change]")[key - 1]?.click();
    if (document.querySelector("dialog[open]")) return;
    if (key === " " && target.closest("button, a, summary, label, input")) return;
    const act = keys[key.length === 1 ? key.toLowerCase() : key];
    if (!act) return;
    event.preventDefault();
    acts[act]();
  });

  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const act = button?.dataset.act ?? { approved: "approve", rejected: "reject" }[button?.value];
    if (event.target.closest(".closer")) return;
    if (act === "close") button.closest("dialog").close();
    else if (acts[act]) {
      event.preventDefault();
      acts[act]();
      if (event.detail && act !== "rework" && act !== "help") button.blur(); // a pointer's: Space is the picture's again
    }
    const link = event.target.closest(".frame a");
    if (link) {
      event.preventDefault();
      show(link.parentElement);
    }
  });
  rework.addEventListener("click", (event) => {
    const button = event.target.closest("[name=change]");
    if (!button) return;
    event.preventDefault();
    makeAnew(button.value, button.lastChild.textContent.trim());
  });
  look.addEventListener("click", () => turn());
  addEventListener("beforeunload", (event) => { if (unsent) event.preventDefault(); });

  for (const each of document.querySelectorAll(".scripted")) each.hidden = false;
  table.classList.add("live");
  show(current);
}
