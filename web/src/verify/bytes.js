// Bytes and the ways they are written.

const encoder = new TextEncoder();
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Something is wrong with what is being verified; the message says what, and where. */
export class Fault extends Error {}

export const utf8 = (text) => encoder.encode(text);

export const text = (bytes) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Standard base64 with its padding, and nothing else. */
export function base64(value, what) {
  if (typeof value !== 'string' || !BASE64.test(value)) throw new Fault(`${what} is not base64`);
  const letters = atob(value);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  if (toBase64(bytes) !== value) throw new Fault(`${what} is not base64 as it is written once`);
  return bytes;
}

export function toBase64(bytes) {
  let letters = '';
  for (let at = 0; at < bytes.length; at += 8192) letters += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(letters);
}

export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
