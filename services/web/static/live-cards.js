// The columns of the tiers, and a card for each process.

const STATES = { starting: "starting", ready: "ready", draining: "draining", silent: "no answer" };
const LEAVING_MS = 450;
const NEW_MS = 2500;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const decimals = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Returns a name in two parts, the first of which may be hidden; the tier's stands above it. */
function shorten(name, tier) {
  if (!name.startsWith(`${tier}-`)) return ["", name];
  const rest = name.slice(tier.length + 1);
  if (/^\d+$/.test(rest)) return ["port ", rest];
  // Of a pod: the hash of its ReplicaSet, and its own letters.
  const end = name.lastIndexOf("-") + 1;
  return [name.slice(tier.length + 1, end), name.slice(end)];
}

class Card {
  constructor(tier, name) {
    const [common, own] = shorten(name, tier);
    this.name = make("span", "name", make("span", "common", common), own);
    this.name.title = name;
    this.state = make("span", "state");
    this.rate = make("b");
    this.share = make("span", "share");
    this.part = make("i");
    this.cpu = make("span");
    this.cpuPart = make("i");
    this.work = make("div", "work");
    this.model = make("div", "model");
    this.element = make(
      "li",
      "process",
      make("div", "top", this.name, this.state),
      make("div", "rate", this.rate, "/s", this.share),
      make("div", "bar", this.part),
      make("div", "cpu", make("div", "bar", this.cpuPart), this.cpu),
      this.work,
      this.model,
    );
  }

  show(process) {
    this.element.dataset.state = process.state;
    this.element.classList.toggle("ejected", process.ejected);
    this.state.textContent = process.ejected ? "ejected" : STATES[process.state] ?? process.state;
    this.rate.textContent = decimals.format(process.rate);
    this.share.textContent = `${Math.round(process.share * 100)} %`;
    this.part.style.setProperty("--part", process.share);
    this.cpu.textContent = `${process.cpu.toFixed(2)} of ${process.cpu_quota} CPU`;
    this.cpuPart.style.setProperty("--part", Math.min(1, process.cpu / process.cpu_quota));
    this.work.textContent = `${process.in_flight} in flight · ${process.queue} queued`;
    this.model.replaceChildren(...process.models.map(describeModel));
  }

  markNew() {
    this.element.classList.add("new");
    setTimeout(() => this.element.classList.remove("new"), NEW_MS);
  }

  leave(after) {
    this.element.classList.add("leaving");
    setTimeout(() => {
      this.element.remove();
      after();
    }, LEAVING_MS);
  }
}

function describeModel(model) {
  const digest = make("code", "", model.digest.replace("sha256:", "").slice(0, 8));
  digest.title = model.digest;
  return make("div", "", `${model.name} ${model.version} · `, digest, ` · ${model.engine} ${model.precision}`);
}

export class Tier {
  #cards = new Map();
  #ghosts = [];

  constructor(name) {
    addEventListener("resize", () => this.fit());
    this.name = name;
    this.count = make("span", "count");
    this.total = make("span", "total");
    this.wanted = make("p", "wanted");
    this.list = make("ul", "processes");
    this.list.setAttribute("aria-label", `Processes of ${name}`);
    this.list.tabIndex = 0; // it scrolls
    const title = make("h2", "", name);
    this.element = make(
      "section", "tier card", make("header", "", title, this.count, this.total, this.wanted), this.list,
    );
    this.element.dataset.tier = name;
  }

  show(tier, { isFirst }) {
    const present = new Set(tier.cards.map((process) => process.id));
    for (const [id, card] of this.#cards) {
      if (!present.has(id)) {
        card.leave(() => this.fit());
        this.#cards.delete(id);
      }
    }
    for (const process of tier.cards) {
      let card = this.#cards.get(process.id);
      if (card === undefined) {
        card = new Card(this.name, process.name);
        this.#cards.set(process.id, card);
        this.list.insertBefore(card.element, this.#ghosts[0] ?? null);
        if (!isFirst) card.markNew();
      }
      card.show(process);
    }
    const staying = tier.cards.filter((process) => process.state !== "draining").length;
    this.count.textContent = `× ${tier.cards.length}`;
    this.total.textContent = `${decimals.format(tier.rate)}/s`;
    this.#showWanted(tier.autoscaler, staying);
    // Each time: cards grow when their process has loaded a model.
    this.fit();
  }

  /** Lets each card show less if all of them would not fit into the column. */
  fit() {
    this.element.classList.remove("many");
    this.element.classList.toggle("many", this.list.scrollHeight > this.list.clientHeight + 1);
  }

  #showWanted(autoscaler, staying) {
    this.wanted.hidden = autoscaler === null;
    const missing = autoscaler === null ? 0 : Math.max(0, autoscaler.desired - staying);
    while (this.#ghosts.length > missing) this.#ghosts.pop().remove();
    while (this.#ghosts.length < missing) {
      this.#ghosts.push(make("li", "process ghost", "wanted"));
      this.list.append(this.#ghosts.at(-1));
    }
    if (autoscaler === null) return;
    const { desired, least, most, why } = autoscaler;
    const range = most === null ? "" : ` (${least} to ${most})`;
    this.wanted.classList.toggle("differs", desired !== staying);
    this.wanted.replaceChildren(
      "autoscaler wants ", make("b", "", String(desired)), `, has ${staying}${range}`,
      why ? ` · ${why}` : "",
    );
    this.wanted.title = why;
  }
}
