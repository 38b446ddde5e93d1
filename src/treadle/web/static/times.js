// Times of the day where the reader is, and how long ago things were while the page stays open.

const STEPS = [[86400, 'd'], [3600, 'h'], [60, 'min']];
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

function clock(moment) {
  const time = moment.toLocaleTimeString('en-GB');
  return moment.toDateString() === new Date().toDateString() ? time : `${DAY.format(moment)} ${time.slice(0, 5)}`;
}

function ago(moment) {
  const seconds = Math.max((Date.now() - moment) / 1000, 0);
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return seconds >= 1 ? `${Math.floor(seconds)} s` : 'now';
}

function tell() {
  for (const element of document.querySelectorAll('main time[datetime], aside time[datetime]')) {
    const moment = new Date(element.dateTime);
    const said = 'clock' in element.dataset ? clock(moment) : ago(moment);
    if (element.textContent !== said) element.textContent = said;
  }
}

new MutationObserver(tell).observe(document.querySelector('.page'), { childList: true, subtree: true });
setInterval(tell, 10000);
tell();
