// The artefact as a form made from its JSON schema, or as JSON text where a form cannot hold it.

import { url } from './http.js';

const NULL = 'null';
const KEPT = new Set([
  'type', 'title', 'properties', 'items', 'required', 'enum', 'const', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum',
  'multipleOf', 'minLength', 'maxLength', 'pattern', 'minItems', 'maxItems', 'uniqueItems', 'anyOf', 'additionalProperties',
]);
const LONG = 60;
let loading = null;

/** Fetched ahead, so that the first form opens at once. */
export function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = url('/static/vendor/jsoneditor.js');
    script.onload = () => resolve(themed(window.JSONEditor));
    script.onerror = () => { loading = null; reject(new Error('the form could not be loaded')); };
    document.head.append(script);
  });
  return loading;
}

/** The form's maker with a theme whose elements have classes of ours, where its own would carry styles that the page's policy refuses. */
function themed(JSONEditor) {
  const hidden = (element) => { element.classList.add('visually-hidden'); return element; };
  JSONEditor.defaults.themes.treadle = class extends JSONEditor.defaults.themes.barebones {
    getHiddenLabel(text) { return hidden(this.getFormInputLabel(text)); }

    getHiddenText(text) { return hidden(Object.assign(document.createElement('span'), { textContent: text })); }

    visuallyHidden(element) { hidden(element); }

    getOptInCheckbox() {
      // Asked for of every field, shown of none: all fields are there.
      const [label, checkbox, container] = ['label', 'input', 'span'].map((name) => document.createElement(name));
      return { label, checkbox, container };
    }
  };
  return JSONEditor;
}

/** `Notice Needed` as people write it. */
const sentence = (title) => title.replace(/ ([A-Z][a-z]*)(?= |$)/g, (_, word) => ` ${word.toLowerCase()}`);

/** The schema without references and without anything but types and limits: no templates, links, or options of the form's maker. */
function plain(schema, whole, value, deep = 0) {
  if (deep > 20) throw new Error('the schema refers to itself');
  if (schema.$ref) {
    const target = schema.$ref.replace(/^#\//, '').split('/').reduce((at, part) => at?.[part], whole);
    if (!target) throw new Error(`the schema does not have ${schema.$ref}`);
    return plain({ ...target, ...(schema.title ? { title: schema.title } : {}) }, whole, value, deep + 1);
  }
  if (schema.allOf?.length === 1) return plain({ ...schema, ...schema.allOf[0], allOf: undefined }, whole, value, deep + 1);
  const other = schema.anyOf?.filter((one) => one.type !== NULL);
  if (other?.length === 1 && other.length < schema.anyOf.length) {
    // Optional text: an empty field stands for none.
    const one = plain({ ...other[0], title: schema.title ?? other[0].title }, whole, value, deep + 1);
    if (one.type !== 'string' || one.enum || one.minLength) throw new Error('the form has no field for none');
    const pattern = one.pattern && `^$|${one.pattern}`;
    return { ...one, ...(pattern ? { pattern } : {}), nullable: true };
  }
  if (other) throw new Error('the form has no field for several types');
  const kept = Object.fromEntries(Object.entries(schema).filter(([name, part]) => KEPT.has(name) && part !== undefined));
  if (kept.title) kept.title = sentence(kept.title);
  if (typeof kept.type !== 'string' && !kept.enum) throw new Error('the form has no field for any type');
  if (kept.type === 'object') {
    if (!kept.properties) throw new Error('the form has no field for any object');
    kept.properties = Object.fromEntries(Object.entries(kept.properties).map(([name, part]) => [name, plain(part, whole, value?.[name], deep + 1)]));
    kept.additionalProperties = false;
  }
  if (isLines(kept, value, whole)) return { type: 'string', format: 'textarea', title: kept.title, lines: true };
  if (kept.type === 'array') {
    kept.items = plain(kept.items ?? {}, whole, value?.[0], deep + 1);
    kept.items.title ??= 'Entry';
  }
  if (kept.type === 'boolean') kept.format = 'checkbox';
  if (kept.type === 'string' && typeof value === 'string' && (value.length > LONG || value.includes('\n'))) kept.format = 'textarea';
  return kept;
}

/** Whether a list of plain words is best typed a line each. */
function isLines(schema, value, whole) {
  if (schema.type !== 'array' || !schema.items) return false;
  const items = schema.items.$ref ? plain(schema.items, whole) : schema.items;
  return items.type === 'string' && !items.enum && (value ?? []).every((part) => typeof part === 'string' && part !== '' && !part.includes('\n'));
}

/** `null` as the empty text that stands for it in the form, a list of words as lines; and back. */
function toForm(value, schema) {
  if (schema.lines) return (value ?? []).join('\n');
  if (schema.nullable && value === null) return '';
  if (Array.isArray(value) && schema.items) return value.map((part) => toForm(part, schema.items));
  if (value && typeof value === 'object' && schema.properties) {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, toForm(part, schema.properties[name] ?? {})]));
  }
  return value;
}

/** Keys come out in the order they had. */
function fromForm(value, schema, before) {
  if (schema.lines) return value.split('\n').map((line) => line.trimEnd()).filter(Boolean);
  if (schema.nullable && value === '') return before === '' ? '' : null;
  if (Array.isArray(value) && schema.items) return value.map((part, at) => fromForm(part, schema.items, before?.[at]));
  if (value && typeof value === 'object' && schema.properties) {
    const order = Object.keys(before ?? {});
    const names = Object.keys(value).sort((a, b) => (order.indexOf(a) + 1 || 1e9) - (order.indexOf(b) + 1 || 1e9));
    return Object.fromEntries(names.map((name) => [name, fromForm(value[name], schema.properties[name] ?? {}, before?.[name])]));
  }
  return value;
}

const pretty = (value) => JSON.stringify(value, null, 2);

/**
 * An editor in `place`: `text()` is the edited artefact as JSON, `problems()` what cannot be sent, `show(problems)` puts the
 * server's where they belong.
 * @param {{text: string, schema: object | null}} given the artefact as it waits
 * @param {string} text what to begin with: the artefact, or a draft
 * @param {(text: string) => void} changed
 */
export async function openEditor(place, given, text, changed) {
  if (given.schema) {
    try {
      return await form(place, given, text, changed);
    } catch (error) {
      return jsonText(place, text, changed, `Shown as JSON: ${error.message}.`);
    }
  }
  return jsonText(place, text, changed, 'Shown as JSON: a form cannot hold it.');
}

async function form(place, given, text, changed) {
  const JSONEditor = await library();
  const value = JSON.parse(text), before = JSON.parse(given.text);
  const schema = plain(given.schema, given.schema, value);
  delete schema.title;
  const holder = document.createElement('div');
  place.replaceChildren(holder);
  const editor = new JSONEditor(holder, {
    schema, startval: toForm(value, schema), theme: 'treadle', disable_theme_rules: true, ajax: false, disable_collapse: true, disable_edit_json: true,
    disable_properties: true, disable_array_reorder: true, disable_array_delete_all_rows: true, prompt_before_delete: false,
    no_additional_properties: true, required_by_default: false, show_errors: 'change', use_name_attributes: false, use_default_values: true,
    keep_oneof_values: false, remove_empty_properties: false, display_required_only: false, show_opt_in: false,
  });
  await new Promise((resolve) => { editor.on('ready', resolve); });
  const now = () => fromForm(editor.getValue(), schema, before);
  if (pretty(now()) !== pretty(value)) {
    editor.destroy();
    throw new Error('the form does not hold all of it');
  }
  label(holder);
  // The form's maker waits until a field is left; what is typed counts as it is typed.
  holder.addEventListener('input', (event) => event.target.dispatchEvent(new Event('change', { bubbles: true })));
  editor.on('change', () => { label(holder); changed(pretty(now())); });
  return {
    isForm: true,
    text: () => pretty(now()),
    // Given no value, the form's maker answers what it found at the last frame, before the last letter.
    problems: () => editor.validate(editor.getValue()).map((one) => `${one.path.replace(/^root\.?/, '') || 'value'}: ${one.message}`),
    show: (problems) => showIn(holder, problems),
    focus: () => holder.querySelector('.form-control :is(input, select, textarea)')?.focus(),
    close: () => { editor.destroy(); holder.remove(); },
  };
}

/** Every field says its name to a screen reader, and what the form's maker forgot. */
function label(holder) {
  for (const field of holder.querySelectorAll('input, select, textarea')) {
    const path = field.closest('[data-schemapath]')?.dataset.schemapath ?? '';
    field.id ||= `edit-${path}`;
    // The form's maker checks it; the browser reads patterns by other rules.
    field.removeAttribute('pattern');
    if (field.matches('textarea')) field.rows = Math.min(Math.max(field.value.split('\n').length, Math.ceil(field.value.length / 80), 1), 12);
    const own = field.closest('.form-control')?.querySelector('label');
    if (own) own.htmlFor = field.id;
    field.setAttribute('aria-label', own?.textContent.trim() || path.replace(/^root\.?/, ''));
  }
}

function showIn(holder, problems) {
  holder.querySelectorAll('.server-problem').forEach((old) => old.remove());
  const left = [];
  let first = null;
  for (const problem of problems) {
    const [path, ...reason] = problem.split(': ');
    const field = holder.querySelector(`[data-schemapath="${CSS.escape(`root.${path}`)}"] :is(input, select, textarea)`);
    if (!field) { left.push(problem); continue; }
    const said = document.createElement('div');
    said.className = 'errmsg server-problem';
    said.id = `${field.id}-problem`;
    said.textContent = reason.join(': ').replace(/^Value error, /, '');
    field.setAttribute('aria-invalid', 'true');
    field.setAttribute('aria-describedby', said.id);
    field.closest('.form-control')?.append(said);
    first ??= field;
  }
  holder.querySelectorAll('[aria-invalid]').forEach((field) => {
    if (!field.closest('.form-control')?.querySelector('.server-problem')) field.removeAttribute('aria-invalid');
  });
  first?.focus();
  return left;
}

function jsonText(place, text, changed, why) {
  const field = document.createElement('textarea');
  field.className = 'json-text';
  field.spellcheck = false;
  field.setAttribute('aria-label', 'The result as JSON');
  field.value = text;
  field.addEventListener('input', () => changed(field.value));
  place.replaceChildren(field);
  return {
    isForm: false,
    why,
    text: () => field.value,
    problems: () => {
      try {
        JSON.parse(field.value);
        return [];
      } catch (error) {
        return [`This is not JSON: ${error.message}`];
      }
    },
    show: (problems) => problems,
    focus: () => { field.focus(); field.setSelectionRange(0, 0); },
    close: () => field.remove(),
  };
}
