/**
 * The search graph, and token passing through it (Young, Russell and Thornton 1989).
 *
 * The same as asr/decoding/{passing,search,hypothesis}.py, step by step and in 32-bit floats, so
 * that the words are the same: a hypothesis stands in a state of the graph and has said one token
 * last. It costs one thing if the frame was blank and another if the token still lasts.
 */

const BLANK = 0;
const NOWHERE = -1;
const TOKEN_BITS = 6;
const TOKEN = (1 << TOKEN_BITS) - 1;
/** What it costs to end within a word. */
const BREAK_OFF = 8;
const RANKS = (1 << 18) - 1;
/** More than the groups of a frame; times the largest key it is still an exact double. */
const GROUPS = 2 ** 22;

const { fround, min, max } = Math;

/**
 * @typedef {object} GraphFacts
 * @property {number} start the state in which nothing was said
 * @property {number} states S
 * @property {number} arcs A
 *
 * @typedef {object} Word
 * @property {string} text
 * @property {number} start its first frame
 * @property {number} end the frame after its last
 *
 * @typedef {object} SearchOptions
 * @property {number} beam what costs so much more than the best is given up
 * @property {number} max_active at most so many hypotheses survive a frame
 * @property {number} acoustic_scale weight of the acoustic model against the graph
 * @property {number[]} offsets [V], what is taken off the log-probability of each token
 */

/** A graph to search in, as plain arrays; the last arc leads to the start from nowhere. */
export class Graph {
  /**
   * @param {GraphFacts} facts
   * @param {ArrayBuffer} data the arrays one after the other, then the vocabulary
   * @param {string[]} tokens name of each token
   */
  constructor({ start, states, arcs }, data, tokens) {
    let begin = 0;
    /** @template {ArrayBufferView} T @param {T} array */
    const taken = (array) => ((begin += array.byteLength), array);
    this.start = start;
    this.tokens = tokens;
    this.next = taken(new Uint32Array(data, begin, arcs + 1));
    /** The label of the word that an arc gives; 0 for none. */
    this.word = taken(new Uint32Array(data, begin, arcs + 1));
    /** In nats. */
    this.cost = taken(new Float32Array(data, begin, arcs + 1));
    /** What it costs to end in a state. */
    this.final = taken(new Float32Array(data, begin, states));
    const counts = taken(new Uint16Array(data, begin, states));
    /** How many arcs of a state take no token; they come first. */
    this.epsilons = taken(new Uint8Array(data, begin, states));
    /** The token that an arc takes. */
    this.label = taken(new Uint8Array(data, begin, arcs + 1));
    /** A line `word TOKEN... / TOKEN...` for each word with its pronunciations. */
    this.lines = new TextDecoder().decode(new Uint8Array(data, begin)).trimEnd().split("\n");
    /** The first arc of each state, and the arc from nowhere. */
    this.first = new Uint32Array(states + 1);
    for (let state = 0; state < states; state++) {
      this.first[state + 1] = this.first[state] + counts[state];
    }
  }

  /**
   * The word with a label, from 1 on, and its pronunciations as token ids.
   * @param {number} label
   */
  entry(label) {
    const line = this.lines[label - 1];
    const space = line.indexOf(" ");
    const ways = line.slice(space + 1).split(" / ");
    return {
      text: line.slice(0, space),
      ways: ways.map((way) => (way.match(/\S+/g) ?? []).map((name) => this.tokens.indexOf(name))),
    };
  }
}

/** The hypotheses that are alive, in the order of their keys. */
class Beam {
  /** @param {number} count */
  constructor(count) {
    this.count = count;
    /** State of the graph and last token. */
    this.keys = new Int32Array(count);
    /** Cost if the frame was blank, and if the last token still lasts. */
    this.blank = new Float32Array(count);
    this.phone = new Float32Array(count);
    /** The last step of each, if the frame was blank, and if the token lasts. */
    this.afterBlank = new Int32Array(count);
    this.afterPhone = new Int32Array(count);
  }

  /** @param {number} i */
  cost(i) {
    return min(this.blank[i], this.phone[i]);
  }

  /** @param {number} i */
  last(i) {
    return this.blank[i] <= this.phone[i] ? this.afterBlank[i] : this.afterPhone[i];
  }
}

/**
 * Ways to go on: first those by an arc with a token, then those by arcs without one behind them.
 * The arrays keep their length from frame to frame; `count` says how much of them counts.
 */
class Candidates {
  count = 0;
  /** How many go by an arc with a token. */
  direct = 0;
  /** @type {number[]} where each leads */
  keys = [];
  /** @type {number[]} */
  costs = [];
  /** @type {number[]} the step that each follows; behind `direct` the candidate */
  before = [];
  /** @type {number[]} */
  arcs = [];

  /** @param {number} key @param {number} cost @param {number} before @param {number} arc */
  add(key, cost, before, arc) {
    const place = this.count++;
    this.keys[place] = key;
    this.costs[place] = cost;
    this.before[place] = before;
    this.arcs[place] = arc;
  }

  /** Keep those that cost less than `limit`. @param {number} limit */
  keep(limit) {
    const { count, keys, costs, before, arcs } = this;
    this.count = 0;
    for (let i = 0; i < count; i++) {
      if (costs[i] < limit) this.add(keys[i], costs[i], before[i], arcs[i]);
    }
  }
}

/** The best words for log-probabilities as they come: one segment, frame by frame. */
export class Search {
  #alive = new Beam(0);
  #new = new Candidates();
  /** The steps of all hypotheses: each an arc that was taken, in a frame, after another step. */
  #steps = {
    count: 0,
    before: /** @type {number[]} */ ([]),
    arcs: /** @type {number[]} */ ([]),
    frames: /** @type {number[]} */ ([]),
  };
  #table = new Int32Array(0);
  /** @type {number[]} the steps of the best hypothesis */
  #path = [];

  /**
   * @param {Graph} graph
   * @param {SearchOptions} options
   * @param {number | null} after the state that earlier words have led to: `behind` them
   */
  constructor(graph, options, after = null) {
    this.graph = graph;
    this.options = options;
    this.tokens = options.offsets.length;
    /** How many frames were read. */
    this.frames = 0;
    /** Of those frames, [frames, V]. */
    this.logProbs = new Float32Array(64 * this.tokens);
    this.#begin(after);
  }

  /**
   * Go on by T frames.
   * @param {Float32Array} logProbs [T, V], natural logarithms
   */
  step(logProbs) {
    const begin = this.frames * this.tokens;
    if (begin + logProbs.length > this.logProbs.length) {
      const longer = new Float32Array(2 * (begin + logProbs.length));
      longer.set(this.logProbs.subarray(0, begin));
      this.logProbs = longer;
    }
    this.logProbs.set(logProbs, begin);
    const costs = new Float32Array(this.tokens);
    for (const end = this.frames + logProbs.length / this.tokens; this.frames < end; ) {
      for (let token = 0; token < this.tokens; token++) {
        costs[token] = this.#cost(this.frames, token);
      }
      const stay = this.#advance(costs);
      this.#recombine(stay, this.options.max_active);
      this.frames++;
    }
    this.#path = this.#back(this.#best());
  }

  /** The best words so far, @returns {Word[]} */
  words() {
    const { steps, tokens, entries, ends } = this.#read();
    const starts = steps.map((step) => this.#steps.frames[step]);
    const tokenEnds = this.#ends(starts, tokens);
    return ends.map((end, i) => ({
      text: entries[i].text,
      start: starts[i ? ends[i - 1] : 0],
      end: tokenEnds[end - 1],
    }));
  }

  /**
   * The state of the graph that the first words lead to; null if the last is not spoken to its end.
   * @param {number} count how many words
   */
  behind(count) {
    const { steps, ends } = this.#read();
    if (!count || count > ends.length) return null;
    const labelled = this.#path.filter((step) => this.graph.word[this.#steps.arcs[step]]);
    const last = Math.max(steps[ends[count - 1] - 1], labelled[count - 1]);
    const state = this.graph.next[this.#steps.arcs[last]];
    return this.graph.final[state] < BREAK_OFF ? state : null;
  }

  /** The best hypothesis: its steps with a token, the tokens, the words and where each ends. */
  #read() {
    const { graph } = this;
    const steps = this.#path.filter((step) => graph.label[this.#steps.arcs[step]] !== BLANK);
    const tokens = steps.map((step) => graph.label[this.#steps.arcs[step]]);
    const entries = this.#labels(this.#path).map((label) => graph.entry(label));
    const ends = steps.length ? wordEnds(entries.map(({ ways }) => ways), tokens) : [];
    return { steps, tokens, entries, ends };
  }

  /** How many of the best words all hypotheses share, so that they cannot change. */
  stable() {
    const shared = this.#shared();
    return this.#labels(this.#path.filter((step) => step <= shared)).length;
  }

  /**
   * The hypotheses before the first frame: the words before go on, or they have ended.
   * @param {number | null} after
   */
  #begin(after) {
    const { graph, options } = this;
    const nowhere = graph.cost.length - 1;
    const ended = after === null ? 0 : graph.final[after];
    this.#new.count = 0;
    this.#new.add((graph.start << TOKEN_BITS) | BLANK, ended, NOWHERE, nowhere);
    if (after !== null) this.#new.add((after << TOKEN_BITS) | BLANK, 0, NOWHERE, nowhere);
    this.#new.direct = this.#new.count;
    this.#follow(options.beam);
    this.#recombine(new Beam(0), this.#new.count);
    const { blank, phone, afterBlank, afterPhone } = this.#alive;
    Object.assign(this.#alive, {
      blank: phone,
      phone: blank,
      afterBlank: afterPhone,
      afterPhone: afterBlank,
    });
  }

  /** What a token costs in a frame. @param {number} frame @param {number} token */
  #cost(frame, token) {
    const logProb = this.logProbs[frame * this.tokens + token];
    const { offsets, acoustic_scale: scale } = this.options;
    return fround(fround(scale) * fround(fround(offsets[token]) - logProb));
  }

  /**
   * What hypotheses become in the next frame if they stay where they are; and fills the candidates
   * with what they can go on to.
   * @param {Float32Array} costs [V], of each token in this frame
   */
  #advance(costs) {
    const { first, epsilons, label, cost: arcCosts, next } = this.graph;
    const alive = this.#alive;
    const stay = new Beam(alive.count);
    stay.keys = alive.keys;
    stay.afterPhone = alive.afterPhone;
    let least = Infinity;
    for (let i = 0; i < alive.count; i++) {
      stay.blank[i] = alive.cost(i) + costs[BLANK];
      stay.phone[i] = alive.phone[i] + costs[alive.keys[i] & TOKEN];
      stay.afterBlank[i] = alive.last(i);
      least = min(least, stay.cost(i));
    }
    const limit = fround(least + this.options.beam);
    const cheapest = min(...costs.subarray(1));
    const onward = this.#new;
    onward.count = 0;
    let tight = limit;
    for (let i = 0; i < alive.count; i++) {
      const cost = alive.cost(i);
      if (!(fround(cost + cheapest) < limit)) continue;
      const held = alive.keys[i] & TOKEN;
      const state = alive.keys[i] >> TOKEN_BITS;
      const end = first[state + 1];
      for (let arc = first[state] + epsilons[state]; arc < end; arc++) {
        const token = label[arc];
        const again = token === held; // after a blank only
        const way = fround(fround((again ? alive.blank[i] : cost) + arcCosts[arc]) + costs[token]);
        if (!(way < tight)) continue;
        tight = min(tight, fround(way + this.options.beam));
        const before = again ? alive.afterBlank[i] : stay.afterBlank[i];
        onward.add((next[arc] << TOKEN_BITS) | token, way, before, arc);
      }
    }
    onward.keep(tight);
    onward.direct = onward.count;
    this.#follow(tight);
    return stay;
  }

  /** Add where arcs without a token lead to, for less than `limit`. @param {number} limit */
  #follow(limit) {
    const { first, epsilons, cost: arcCosts, next } = this.graph;
    const onward = this.#new;
    for (let i = 0; i < onward.count; i++) {
      const state = onward.keys[i] >> TOKEN_BITS;
      const end = first[state] + epsilons[state];
      for (let arc = first[state]; arc < end; arc++) {
        const way = fround(onward.costs[i] + arcCosts[arc]);
        if (way < limit) {
          onward.add((next[arc] << TOKEN_BITS) | (onward.keys[i] & TOKEN), way, i, arc);
        }
      }
    }
  }

  /**
   * Keep the cheapest way to each key, of those within the beam.
   * @param {Beam} stay hypotheses that stay where they are
   * @param {number} most how many may be left; a few more, if they cost the same
   */
  #recombine(stay, most) {
    const onward = this.#new;
    const { beam } = this.options;
    let best = Infinity;
    for (let i = 0; i < stay.count; i++) best = min(best, stay.cost(i));
    for (let i = 0; i < onward.count; i++) best = min(best, onward.costs[i]);

    const groups = this.#grouped(stay, best);
    const costs = new Float32Array(groups.keys.length);
    groups.winners.forEach((place, group) => {
      const phone = place < stay.count ? stay.phone[place] : onward.costs[place - stay.count];
      costs[group] = group < stay.count ? min(phone, stay.blank[group]) : phone;
    });
    let limit = fround(best + beam);
    if (costs.length > most) limit = min(limit, costs.slice().sort()[most - 1]);

    let count = 0;
    const order = new Float64Array(costs.length);
    for (let group = 0; group < costs.length; group++) {
      if (costs[group] <= limit) order[count++] = groups.keys[group] * GROUPS + group;
    }
    const kept = Array.from(order.subarray(0, count).sort(), (packed) => packed % GROUPS);
    const places = this.#recorded(kept.map((group) => groups.winners[group] - stay.count));
    this.#alive = new Beam(count);
    kept.forEach((group, i) => {
      const winner = groups.winners[group];
      const stays = winner < stay.count;
      const was = group < stay.count;
      this.#alive.keys[i] = groups.keys[group];
      this.#alive.blank[i] = was ? stay.blank[group] - best : Infinity;
      this.#alive.afterBlank[i] = was ? stay.afterBlank[group] : NOWHERE;
      this.#alive.phone[i] =
        (stays ? stay.phone[winner] : onward.costs[winner - stay.count]) - best;
      this.#alive.afterPhone[i] = stays
        ? stay.afterPhone[winner]
        : places[winner - stay.count];
    });
  }

  /**
   * All ways that lead to the same key as one group, and the cheapest of each; a group that has a
   * hypothesis that stays has its number.
   * @param {Beam} stay
   * @param {number} best what the cheapest of all costs
   */
  #grouped(stay, best) {
    const onward = this.#new;
    const { beam } = this.options;
    const scale = fround(RANKS / (2 * beam));
    /** @param {number} cost */
    const rank = (cost) => Math.trunc(fround(min(fround(cost - best), 2 * beam) * scale));
    const keys = Array.from(stay.keys);
    const winners = keys.map((_, i) => i);
    const ranks = keys.map((_, i) => rank(stay.phone[i]));

    const total = stay.count + onward.count;
    if (this.#table.length < 2 * total) {
      this.#table = new Int32Array(1 << (32 - Math.clz32(4 * total)));
    }
    const table = this.#table.fill(NOWHERE);
    const mask = table.length - 1;
    /** @param {number} key the slot of its group, or a free one */
    const slot = (key) => {
      let at = (Math.imul(key, 0x9e3779b1) >>> 8) & mask;
      while (table[at] !== NOWHERE && keys[table[at]] !== key) at = (at + 1) & mask;
      return at;
    };
    for (let i = 0; i < stay.count; i++) table[slot(stay.keys[i])] = i;
    for (let i = 0; i < onward.count; i++) {
      const key = onward.keys[i];
      const at = slot(key);
      const group = table[at];
      if (group === NOWHERE) {
        table[at] = keys.length;
        keys.push(key);
        winners.push(stay.count + i);
        ranks.push(rank(onward.costs[i]));
      } else if (rank(onward.costs[i]) < ranks[group]) {
        ranks[group] = rank(onward.costs[i]);
        winners[group] = stay.count + i;
      }
    }
    return { keys, winners };
  }

  /**
   * Add candidates, and what led to them, to the steps.
   * @param {number[]} winners candidates, or negative numbers
   * @returns {Int32Array} the step of each candidate that was added
   */
  #recorded(winners) {
    const { count, direct, before, arcs } = this.#new;
    const steps = this.#steps;
    const needed = new Uint8Array(count);
    for (const winner of winners) if (winner >= 0) needed[winner] = 1;
    for (let i = count - 1; i >= direct; i--) if (needed[i]) needed[before[i]] = 1;
    const places = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      if (!needed[i]) continue;
      const step = steps.count++;
      places[i] = step;
      steps.before[step] = i < direct ? before[i] : places[before[i]];
      steps.arcs[step] = arcs[i];
      steps.frames[step] = this.frames;
    }
    return places;
  }

  /** The last step of the best hypothesis if nothing follows. */
  #best() {
    const alive = this.#alive;
    let best = 0;
    let least = Infinity;
    for (let i = 0; i < alive.count; i++) {
      const cost = fround(alive.cost(i) + this.graph.final[alive.keys[i] >> TOKEN_BITS]);
      if (cost < least) [best, least] = [i, cost];
    }
    return alive.last(best);
  }

  /** The steps that lead to one, itself the last. @param {number} step */
  #back(step) {
    const path = [];
    for (; step !== NOWHERE; step = this.#steps.before[step]) path.push(step);
    return path.reverse();
  }

  /** The labels of the words along steps. @param {number[]} steps */
  #labels(steps) {
    const labels = steps.map((step) => this.graph.word[this.#steps.arcs[step]]);
    return labels.filter((label) => label > 0 && label <= this.graph.lines.length);
  }

  /** The last step that all hypotheses have come by; there is one, the first. */
  #shared() {
    const alive = this.#alive;
    const open = new Set();
    for (let i = 0; i < alive.count; i++) {
      if (alive.blank[i] < Infinity) open.add(alive.afterBlank[i]);
      if (alive.phone[i] < Infinity) open.add(alive.afterPhone[i]);
    }
    for (let step = this.#steps.count - 1; open.size > 1; step--) {
      if (open.delete(step)) open.add(this.#steps.before[step]);
    }
    return open.values().next().value;
  }

  /**
   * The frame after the last of each token of the best path: each lasts, then blanks follow.
   * @param {number[]} starts first frames, rising
   * @param {number[]} tokens
   */
  #ends(starts, tokens) {
    return tokens.map((token, i) => {
      const again = token === tokens[i + 1]; // between equal tokens there is a blank
      const until = (starts[i + 1] ?? this.frames) - (again ? 1 : 0);
      let [end, most, total] = [starts[i] + 1, -Infinity, 0];
      for (let frame = starts[i]; frame < until; frame++) {
        total += fround(this.#cost(frame, BLANK) - this.#cost(frame, token));
        if (total >= most) [end, most] = [frame + 1, total];
      }
      return end;
    });
  }
}

/**
 * Which tokens each word of a path is made of. The graph gives a word as soon as its tokens cannot
 * be another's, or only some tokens after its end; so the words alone do not say where they are.
 * @param {number[][][]} words of each the pronunciations; the last may be spoken in part
 * @param {number[]} tokens of the path; the last may belong to a word that is not decided yet
 * @returns {number[]} for each word, the place after its last token
 */
export function wordEnds(words, tokens) {
  /** @param {number[]} way @param {number} start @param {number} length */
  const said = (way, start, length) =>
    way.slice(0, length).every((token, i) => token === tokens[start + i]);
  /** @type {Map<number, number>[]} for each word: end to start */
  const reached = [new Map([[0, 0]])];
  for (const ways of words) {
    const ends = new Map();
    for (const start of reached[reached.length - 1].keys()) {
      for (const way of ways) {
        if (said(way, start, way.length)) ends.set(start + way.length, start);
      }
    }
    reached.push(ends);
  }
  const last = reached[words.length];
  if (!last.size) {
    for (const start of reached[words.length - 1].keys()) {
      const left = tokens.length - start;
      if (words[words.length - 1].some((way) => said(way, start, left))) {
        last.set(tokens.length, start);
      }
    }
  }
  if (!last.size) throw new Error("the graph's words and its lexicon differ; export again");
  const ends = [max(...last.keys())];
  for (let i = words.length; i > 1; i--) ends.unshift(reached[i].get(ends[0]) ?? 0);
  return ends.slice(0, words.length);
}
