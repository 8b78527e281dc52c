// The head of the room's page: what it is called, what it is for, how many people are in it; and whether one can write.

export class Header {
  constructor(section) {
    this.section = section;
    this.title = section.querySelector("h1 span");
    this.topic = section.querySelector(".page-header .topic");
    this.count = section.querySelector(".page-header .number");
  }

  /** A `room.settings` change. A direct room is titled with the other person's name, and has no settings. */
  settings({ name, topic, archived }) {
    this.title.textContent = name;
    document.title = document.title.replace(/^[^·]*/, `${name} `);
    this.topic.textContent = this.topic.title = topic;
    this.topic.hidden = !topic;
    if (archived) {
      this.section.querySelector(".composer")?.remove();
      this.section.querySelector(".archived-note").hidden = false;
    }
  }

  /** A `room.member` change. */
  member({ people }) {
    if (this.count) {
      this.count.textContent = people;
      this.count.parentElement.ariaLabel = `${people} ${people === 1 ? "person" : "people"}, about this room`;
    }
  }
}
