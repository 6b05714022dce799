"""Is a history of concurrent calls linearizable? The search of Wing and Gong, with Lowe's memory of where it has been.

A history is a list of Call. Each key is checked by itself: linearizability is a local property. What a call that failed
in doubt did is not known: it may have taken effect at any time after it was begun, or never (`ret` is None).

Keys of three kinds:
- register: write(value), read() -> value; "" at first
- append:   append(token), read() -> all tokens; "" at first
- compare:  create(value) -> ok | exists, remove() -> ok | absent, read() -> value or None
"""

import collections
import json

# So many steps are enough for short keys and a handful of clients; one that needs more is told apart from a failure.
MAX_STEPS = 3_000_000

Call = collections.namedtuple("Call", "client kind key op arg result call ret")


class Undecided(Exception):
    """The search has become too large: keys must be shorter, or clients fewer."""


def step_register(state, call):
    """Whether the call can happen in this state, and the state after it."""
    if call.op == "write":
        return True, call.arg
    return state == call.result, state


def step_compare(state, call):
    if call.op == "read":
        return state == call.result, state
    done = state is None if call.op == "create" else state is not None
    after = state if not done else call.arg if call.op == "create" else None
    if call.ret is None:
        return True, after
    return done == (call.result == "ok"), after


def step_append(state, call):
    """The calls of number_appends()."""
    if call.op == "read":
        return state == call.result, state
    if call.result is None:
        return True, -1  # after all that was read: nothing is read after it
    return state == call.result, state + 1


STEPS = {"register": (step_register, ""), "compare": (step_compare, None), "append": (step_append, 0)}


def number_appends(calls):
    """Tokens as their place in the longest contents that anyone read, and contents as their length in tokens: without
    that the search would try every order of appends that nobody had read in between. None if contents do not fit."""
    reads = [call.result.split() for call in calls if call.op == "read"]
    longest = max(reads, key=len, default=[])
    places = {token: place for place, token in enumerate(longest)}
    if len(places) != len(longest) or any(read != longest[:len(read)] for read in reads):
        return None
    known = {call.arg for call in calls if call.op == "append"}
    if not known.issuperset(places):
        return None  # what nobody appended
    return [call._replace(result=len(call.result.split()) if call.op == "read" else places.get(call.arg))
            for call in calls]


def prepare(kind, calls):
    """Without calls that say nothing; None if the history is wrong already."""
    if kind == "append":
        calls = number_appends(calls)
        return calls and [call for call in calls if call.ret is not None or call.result is not None]
    if kind == "register":
        seen = {call.result for call in calls if call.op == "read"}
        return [call for call in calls if call.ret is not None or call.arg in seen]
    return calls


class Events:
    """Begins and ends of calls in the order of time, as a list from which calls are taken and put back."""

    def __init__(self, calls):
        # Of equal times the begin is first: then the calls overlap.
        events = sorted([(call.call, 0, number) for number, call in enumerate(calls)] +
                        [(call.ret, 1, number) for number, call in enumerate(calls) if call.ret is not None])
        self.what = [None] + [(number, bool(end)) for _, end, number in events]
        self.next = list(range(1, len(events) + 1)) + [0]
        self.before = [len(events)] + list(range(len(events)))
        self.begin = {number: place for place, (number, end) in enumerate(self.what[1:], 1) if not end}
        self.end = {number: place for place, (number, end) in enumerate(self.what[1:], 1) if end}

    def places(self, number):
        return [self.begin[number]] + ([self.end[number]] if number in self.end else [])

    def take(self, number):
        for place in self.places(number):
            self.next[self.before[place]] = self.next[place]
            self.before[self.next[place]] = self.before[place]

    def put_back(self, number):
        for place in reversed(self.places(number)):
            self.next[self.before[place]] = place
            self.before[self.next[place]] = place


def linearizable(kind, calls, max_steps=MAX_STEPS):
    """Whether the calls on one key can be put in one order that keeps to time and to what each returned."""
    calls = prepare(kind, calls)
    if calls is None:
        return False
    step, state = STEPS[kind]
    events = Events(calls)
    left = sum(call.ret is not None for call in calls)
    taken, seen, stack = 0, set(), []
    place = events.next[0]
    for _ in range(max_steps):
        if left == 0:
            return True
        number, is_end = events.what[place] if place != 0 else (None, True)
        if is_end:  # a call is over that was not put in order yet: an earlier choice was wrong
            if not stack:
                return False
            number, state = stack.pop()
            taken ^= 1 << number
            left += calls[number].ret is not None
            events.put_back(number)
            place = events.next[events.begin[number]]
            continue
        fits, after = step(state, calls[number])
        reached = (taken | 1 << number, after)
        if fits and reached not in seen:
            seen.add(reached)
            stack.append((number, state))
            taken, state = reached
            left -= calls[number].ret is not None
            events.take(number)
            place = events.next[0]
        else:
            place = events.next[place]
    raise Undecided(f"{len(calls)} calls, {max_steps} steps")


def load(paths):
    """The calls in journals of lib/client.py, by key."""
    keys = collections.defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8") as journal:
            for line in journal:
                call = Call(*json.loads(line))
                keys[call.kind, call.key].append(call)
    return keys


def failures(keys):
    """The keys whose history is not linearizable, with why."""
    wrong = {}
    for (kind, key), calls in keys.items():
        try:
            if not linearizable(kind, calls):
                wrong[key] = "not linearizable"
        except Undecided as error:
            wrong[key] = f"undecided: {error}"
    return wrong
