// The head of the room's page: what it is called, what it is for, how many people are in it; and whether one can write.
import { rename } from "./title.js";

export class Header {
  constructor(section) {
    this.section = section;
    this.title = section.querySelector("h1 span");
    this.topic = section.querySelector(".page-header .topic");
    this.count = section.querySelector(".people-count");
  }

  /** A `room.settings` change. A direct room is titled with the other person's name, and has no settings. */
  settings({ name, topic }) {
    this.title.textContent = name;
    rename(name);
    this.topic.textContent = this.topic.title = topic;
    this.topic.hidden = !topic;
    this.section.querySelector(".timeline").ariaLabel = `Messages in ${name}`;
    this.#renameField(`Message to ${name}`);
  }

  /** The room is archived; a composer with a draft stays, so that it can be copied. */
  archived(hasDraft) {
    this.section.querySelector(".archived-note").hidden = false;
    this.section.querySelector(".kept-draft").hidden = !hasDraft;
    if (!hasDraft) {
      this.section.querySelector(".composer")?.remove();
    }
  }

  /** A `room.member` change. */
  member({ user, role, people }) {
    if (String(user.id) === document.body.dataset.user && role) {
      this.section.dataset.role = role;
    }
    if (this.count) {
      this.section.dataset.people = people;
      this.count.querySelector(".number").textContent = people;
      this.count.ariaLabel = `${people} ${people === 1 ? "person" : "people"}, about this room`;
    }
  }

  #renameField(words) {
    const form = this.section.querySelector(".composer");
    if (form) {
      form.querySelector("label").textContent = words;
      form.querySelector("textarea").placeholder = words;
    }
  }
}
