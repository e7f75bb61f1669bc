// The list of files: a record of each, counts that cost nothing to ask for, and rows in the page for at most a hundred.

import { percent } from "./texts.js";

const MOST_ROWS = 100;
const ABOVE = 40; // rows above those that are seen

/** Write a text only where it differs: the page is laid out again otherwise. */
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

export class Rows {
  constructor(list, template) {
    Object.assign(this, { list, template, scroller: list.parentElement });
    this.records = []; // {name, size, state, text, sent, reason}; a file's number is its place here
    this.counts = { waiting: 0, sending: 0, sent: 0, failed: 0, gone: 0 };
    this.bytes = 0;
    this.bytesSent = 0;
    this.only = ""; // the state that is listed; empty for all
    this.order = null; // numbers of the listed files; null if they are all
    this.scroller.addEventListener("scroll", () => this.render(), { passive: true });
    new ResizeObserver(() => this.render()).observe(this.scroller);
  }

  /** How many files there are. */
  get length() { return this.records.length - this.counts.gone; }

  add(record) {
    this.records.push({ sent: 0, reason: "", text: "", state: "waiting", ...record });
    this.count(this.records.at(-1), 1);
  }

  change(number, facts) {
    const record = this.records[number];
    this.count(record, -1);
    if (facts.state && facts.state !== record.state) this.order = null;
    Object.assign(record, facts);
    this.count(record, 1);
  }

  count(record, sign) {
    this.counts[record.state] += sign;
    if (record.state === "gone") return;
    this.bytes += sign * record.size;
    this.bytesSent += sign * (record.state === "sent" ? record.size : record.sent);
  }

  /** List the files in one state, or all. */
  show(state) {
    Object.assign(this, { only: state, order: null });
    this.list.dataset.only = state;
    this.scroller.scrollTop = 0;
  }

  /** Scroll to a file, unless somebody looks at another. */
  follow(number) {
    if (this.only || this.scroller.matches(":hover, :focus-within")) return;
    this.scroller.scrollTop = number * this.height - this.scroller.clientHeight / 2;
  }

  get height() { return this.list.firstElementChild?.offsetHeight || 1; }

  listed() {
    if (!this.only && !this.counts.gone) return null;
    const isListed = ({ state }) => (this.only ? state === this.only : state !== "gone");
    this.order ??= this.records.flatMap((record, number) => (isListed(record) ? [number] : []));
    return this.order;
  }

  /** Bring the rows up to date. */
  render() {
    const order = this.listed();
    const total = order?.length ?? this.records.length;
    const count = Math.min(total, MOST_ROWS);
    while (this.list.childElementCount < count) this.list.append(this.template.content.firstElementChild.cloneNode(true));
    while (this.list.childElementCount > count) this.list.lastElementChild.remove();
    const first = Math.max(0, Math.min(total - count, Math.floor(this.scroller.scrollTop / this.height) - ABOVE));
    this.list.style.paddingTop = `${first * this.height}px`;
    this.list.style.paddingBottom = `${(total - first - count) * this.height}px`;
    [...this.list.children].forEach((row, place) => {
      const index = first + place;
      this.fill(row, this.records[order ? order[index] : index]);
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", total);
    });
  }

  fill(row, record) {
    const [name, state, meter, reason] = row.children;
    row.dataset.state = record.state;
    write(name, record.name);
    name.title = record.name;
    write(state, record.text || (record.state === "sending" ? percent(record.sent, record.size) : record.state));
    meter.value = record.size ? record.sent / record.size : 0;
    write(reason, record.reason);
    reason.title = record.reason;
    reason.hidden = !record.reason;
  }
}
