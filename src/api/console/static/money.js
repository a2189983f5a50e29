// Amounts: whole minor units in decimal digits, because a balance has no bound.

let exponents = {};

export function learn(known) {
  exponents = known;
}

/** 1250 USD is "12.50", -1250 "−12.50". */
export function money(amount, currency) {
  const digits = exponents[currency] ?? 0;
  const minor = BigInt(amount);
  const text = String(minor < 0n ? -minor : minor).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits).replace(/\B(?=(\d{3})+$)/g, ",");
  return (minor < 0n ? "−" : "") + whole + (digits ? "." + text.slice(-digits) : "");
}

/** The same for an axis, where there is little room: "1.2M". */
export function roughly(minor, currency) {
  const major = minor / 10 ** (exponents[currency] ?? 0);
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(major).replace("-", "−");
}

/** A share of a whole as "93.7 %", rounded down. */
export function percent(part, whole) {
  if (BigInt(whole) === 0n) return "–";
  const thousandths = (1000n * BigInt(part)) / BigInt(whole);
  return `${thousandths / 10n}.${thousandths % 10n} %`;
}
