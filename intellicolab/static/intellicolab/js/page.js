// What every page may use, signed in or not.
import { copyOnClick } from "./copy.js";
import { offerZone } from "./zone.js";
import { showTimes } from "./times.js";

copyOnClick(document);
offerZone(document);
showTimes(document);
