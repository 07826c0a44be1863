/** A cluster's circuit breaker: counts against limits. Source: envoy.config.cluster.v3.CircuitBreakers, priority DEFAULT. */
import type { BreakerConfig } from "./cluster-config.ts";

/** Counts of what is under way in one cluster. Pools count up and down; a count may pass its limit where Envoy lets it. */
export class CircuitBreaker {
  readonly config: BreakerConfig;
  connections = 0;
  pending = 0;
  requests = 0;
  #retries = 0;

  constructor(config: BreakerConfig) {
    this.config = config;
  }

  get retries(): number {
    return this.#retries;
  }

  get mayConnect(): boolean {
    return this.connections < this.config.connectionsMax;
  }

  get mayQueue(): boolean {
    return this.pending < this.config.pendingMax;
  }

  get mayRequest(): boolean {
    return this.requests < this.config.requestsMax;
  }

  /** Takes one retry; call endRetry for each true. */
  tryStartRetry(): boolean {
    const budget = this.config.retryBudget;
    const limit = budget
      ? Math.max(budget.concurrencyMin, Math.floor(((this.requests + this.pending) * budget.percent) / 100))
      : this.config.retriesMax;
    if (this.#retries >= limit) return false;
    this.#retries += 1;
    return true;
  }

  endRetry(): void {
    this.#retries -= 1;
  }
}
