// Numbers and times as people read them.

/** 0, 0.42, 7.3, 128, 12.4k, 3.2M; a dash where there is none. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)}G`;
  if (size >= 1e6) return `${digits(value / 1e6)}M`;
  if (size >= 1e4) return `${digits(value / 1e3)}k`;
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1).replace(/\.0$/, "");
  return value.toFixed(2).replace(/\.?0+$/, "");
}

/** A whole number with its thousands apart. */
export const whole = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US"));

/** `12.4/s` */
export const rate = (value) => (value === null || value === undefined ? "–" : `${number(value)}/s`);

/** `85 µs`, `1.3 ms`, `3.2 s` */
export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value < 1e-3) return `${number(value * 1e6)} µs`;
  if (value < 1) return `${number(value * 1e3)} ms`;
  return `${number(value)} s`;
}

/** `98.5 %` of a share between 0 and 1. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const hundredths = share * 100;
  if (hundredths > 0 && hundredths < 0.1) return "< 0.1 %";
  if (hundredths > 99.9 && hundredths < 100) return "> 99.9 %";
  return `${number(Math.round(hundredths * 10) / 10)} %`;
}

/** `512 B`, `64 KiB`, `1.5 GiB` */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let size = value;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${number(size)} ${units[unit]}`;
}

/** `12 s`, `4 min`, `3 h 20 min`, `2 d 4 h` */
export function length(value) {
  if (value === null || value === undefined) return "–";
  const total = Math.max(0, Math.floor(value));
  if (total < 60) return `${total} s`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

const two = (value) => String(value).padStart(2, "0");

/** `14:03:59`, by this machine's clock. */
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/** `2026-11-28 14:03:59`, by this machine's clock, of a text or of Unix seconds. */
export function moment(value) {
  if (value === null || value === undefined) return "–";
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  if (Number.isNaN(date.getTime())) return String(value);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(date)}`;
}

/** `a, b or c` */
export function listed(names, last) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`;
}

/** `1 key`, `5 keys` */
export const counted = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
