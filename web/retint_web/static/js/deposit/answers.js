// What the portal's answers mean: what to do about those that are not what was expected.

const PASSING = new Set([429, 502, 503, 504]); // the portal is busy, or is being started: waited for
const ONCE_MORE = new Set([408, 409, 460]); // an upload that went on elsewhere, or arrived damaged

/** Why something was not done: a sentence, and what helps (`kind`): "wait", "retry", "signIn" or nothing. */
export class Fault extends Error {
  constructor(sentence, kind = null, after = null) {
    super(sentence);
    Object.assign(this, { kind, after });
  }
}

/** What a quota is the reason of concerns all files that follow: none of them is tried before somebody says so. */
export class Shortage extends Fault {}

/** The JSON object of an answer; an empty one where it is anything else. */
export const parseAnswer = (text) => {
  try { return Object(JSON.parse(text)); } catch { return {}; }
};

/** Judge an answer that is not what was expected: a sign-in page says 200, too. */
export function findFault(status, isRedirected, text, after = null) {
  const { detail, code } = parseAnswer(text);
  if (status === 401 || isRedirected || code === "csrf") return new Fault("The session has ended.", "signIn");
  if (status < 400) return new Fault("The answer did not come from the portal.");
  const sentence = detail || `The portal answered ${status}.`;
  if (code === "quota_exceeded") return new Shortage(sentence);
  if (PASSING.has(status)) return new Fault(sentence, "wait", Number(after) * 1000 || null);
  return new Fault(sentence, status >= 500 || (ONCE_MORE.has(status) && code !== "batch_cancelled") ? "retry" : null);
}
