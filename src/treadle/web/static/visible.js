// What a reader would not see, or be misled by, made visible: the same as the filter of that name in the server's pages.

const HIDDEN = /[^\P{C}\n\t]|[\p{Zl}\p{Zp}]/gu;

export function visible(text) {
  return String(text).replace(HIDDEN, (one) => {
    const code = one.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}
