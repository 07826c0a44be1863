/** Percentages of Envoy as a chance. Source: envoy.type.v3.FractionalPercent. */
import { FractionalPercent_DenominatorType as Denominator, type FractionalPercent } from "../gen/envoy/type/v3/percent_pb.ts";
import { PolicyRefusal } from "./refusal.ts";

/** Between 0 and 1. `absent` where none is given. */
export function ratioOf(percent: FractionalPercent | undefined, absent: number): number {
  if (!percent) return absent;
  switch (percent.denominator) {
    case Denominator.HUNDRED:
      return Math.min(1, percent.numerator / 100);
    case Denominator.TEN_THOUSAND:
      return Math.min(1, percent.numerator / 10_000);
    case Denominator.MILLION:
      return Math.min(1, percent.numerator / 1_000_000);
    default:
      throw new PolicyRefusal(`denominator ${percent.denominator} of a percentage is not known`);
  }
}

/** Whether chance `ratio` comes up for `draw`, uniform in [0, 1). 0 never does, 1 always. */
export function happens(ratio: number, draw: number): boolean {
  return draw < ratio;
}
