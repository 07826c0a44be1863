/** Keeps a certificate fresh: renews at half its life with jitter, and goes on trying while the old one still holds. */
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { WorkloadCertificate } from "./certificate-client.ts";

/** What rotation needs. */
export interface RotationOptions {
  readonly request: () => Promise<WorkloadCertificate>;
  readonly onCertificate: (certificate: WorkloadCertificate) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Part of the life after which to renew; default 0.5, with ± 5 % of the life as jitter. */
  readonly renewAt?: number;
}

const JITTER = 0.05;
const RETRY = { baseMs: 500, maxMs: 30_000 };
/** Below this part of its life left, each failure is logged as an error: something must be done. */
const ALARM_LEFT = 0.25;

/** A running rotation. */
export interface Rotation {
  /** The certificate held now. */
  readonly current: WorkloadCertificate | undefined;
  close(): void;
}

/** Asks for the first certificate at once and renews it for ever, until closed. Failures are logged and tried again with backoff. */
export function startRotation(options: RotationOptions): Rotation {
  const { clock, log } = options;
  const backoff = new Backoff(RETRY, options.random);
  let current: WorkloadCertificate | undefined;
  let timer: Timer | undefined;
  let isClosed = false;

  const renew = async (): Promise<void> => {
    try {
      const next = await options.request();
      if (isClosed) return;
      current = next;
      backoff.reset();
      options.onCertificate(next);
      timer = clock.after(renewDelayMs(next, options), () => void renew());
    } catch (error) {
      if (isClosed) return;
      const waitMs = backoff.nextMs();
      report(error, waitMs);
      timer = clock.after(waitMs, () => void renew());
    }
  };

  const report = (error: unknown, waitMs: number): void => {
    const fields = { error: messageOf(error), retryMs: waitMs };
    if (!current) {
      log.warn("no certificate yet: the authority could not be asked or refused", fields);
      return;
    }
    const left = (current.notAfterMs - clock.nowMs()) / (current.notAfterMs - current.notBeforeMs);
    const text = `the certificate could not be renewed; the one held is good for another ${Math.max(0, Math.round((current.notAfterMs - clock.nowMs()) / 1000))} s`;
    if (left < ALARM_LEFT) log.error(text, fields);
    else log.warn(text, fields);
  };

  void renew();
  return {
    get current() {
      return current;
    },
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

function renewDelayMs(certificate: WorkloadCertificate, { clock, random, renewAt = 0.5 }: RotationOptions): number {
  const lifeMs = certificate.notAfterMs - certificate.notBeforeMs;
  const at = certificate.notBeforeMs + lifeMs * (renewAt + (random.next() * 2 - 1) * JITTER);
  return Math.max(1000, at - clock.nowMs());
}
