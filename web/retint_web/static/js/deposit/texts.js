// Numbers in words.

export const formatSize = (bytes) => {
  const step = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
};

export const formatDuration = (seconds) => (seconds < 55 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

export const formatNumber = (number) => number.toLocaleString("en");

export const pluralize = (number, word) => `${formatNumber(number)} ${word}${number === 1 ? "" : "s"}`;

export const percent = (part, whole) => `${Math.round((100 * part) / Math.max(1, whole))} %`;
