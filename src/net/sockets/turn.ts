/** A turn of the event loop as channels see it: what is written while an event is handled leaves together at its end. */

/** Something with output that waits for the end of the turn. */
export interface TurnMember {
  /** Writes what waits and tells its owner what follows from it. Never called from inside a call of the owner. */
  endTurn(): void;
}

let isInside = false;
let isScheduled = false;
/** The first `joined` places hold who waits; the list itself stays, so that a turn allocates nothing. */
const members: (TurnMember | undefined)[] = [];
let joined = 0;

/** Opens a turn around the handling of an event. Give what it returns to `leaveTurn`. */
export function enterTurn(): boolean {
  const wasInside = isInside;
  isInside = true;
  return wasInside;
}

/** Ends a turn. One inside another ends with the outer one. */
export function leaveTurn(wasInside: boolean): void {
  if (wasInside) return;
  isInside = false;
  if (joined > 0) endTurns();
}

/** Asks for `endTurn` at the end of this turn; outside of the turns of channels, once the code that runs now has returned. */
export function joinTurn(member: TurnMember): void {
  members[joined++] = member;
  if (isInside || isScheduled) return;
  isScheduled = true;
  process.nextTick(endTurns);
}

function endTurns(): void {
  isScheduled = false;
  if (isInside) return; // The event that is being handled ends it.
  isInside = true;
  let done = 0;
  try {
    // What a member's owner writes in answer joins this same turn.
    while (done < joined) {
      const member = members[done];
      members[done++] = undefined;
      member?.endTurn();
    }
  } finally {
    isInside = false;
    // All of them, but where one threw.
    members.copyWithin(0, done, joined);
    joined -= done;
    if (joined > 0) {
      isScheduled = true;
      process.nextTick(endTurns);
    }
  }
}
