
"use strict";
{
	const mostShown = 500;         // rows of the table
	const mostRead = 4 << 20;      // characters of an answer
	const mostRaw = 200_000;       // characters of the answer as it came
	const base = new URL("./", location.href);
	const all = (selector, within = document) => [...within.querySelectorAll(selector)];
	const one = (selector, within = document) => within.querySelector(selector);

	// make returns an element. Whatever comes from a database gets in as text, here or by textContent, and in no other way.
	const make = (name, fields = {}, ...children) => {
		const element = Object.assign(document.createElement(name), fields);
		element.append(...children);
		return element;
	};

	// A JSON document as it was written: numbers keep their digits, members their order, which an object of JavaScript would not.
	class Num { constructor(text) { this.text = text; } }
	class Members {
		constructor(list) { this.list = list; }
		get(name) { return this.list.find(([key]) => key === name)?.[1]; }
	}
	const parse = (text) => {
		const token = /[ \t\r\n]*(?:("[^"\\]*(?:\\.[^"\\]*)*")|(-?\d[\d.eE+-]*)|(true|false|null)|([{}[\],:]))/y;
		let whole, string, number, word, sign;
		const next = () => {
			const found = token.exec(text);
			if (!found) throw new SyntaxError("the answer is no JSON, or ends too early");
			[whole, string, number, word, sign] = found;
		};
		const list = (end, item) => {
			const items = [];
			next();
			while (sign !== end) {
				items.push(item());
				next();
				if (sign === ",") next();
				else if (sign !== end) throw new SyntaxError("the answer is no JSON");
			}
			return items;
		};
		const member = () => {
			const name = JSON.parse(string);
			next();
			next();
			return [name, value()];
		};
		const value = () => {
			if (string !== undefined) return JSON.parse(string);
			if (number !== undefined) return new Num(number);
			if (word !== undefined) return JSON.parse(word);
			if (sign === "[") return list("]", value);
			if (sign === "{") return new Members(list("}", member));
			throw new SyntaxError("the answer is no JSON");
		};
		next();
		return value();
	};

	const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'"; // for a shell (POSIX, 2.2.2)
	const count = (n, thing) => n.toLocaleString("en") + " " + thing + (n === 1 ? "" : "s");

	// The credentials are nowhere but in their fields.
	const credentials = () => {
		const scheme = one("#scheme")?.value;
		if (scheme === "basic") {
			const bytes = new TextEncoder().encode(one("#user").value + ":" + one("#password").value);
			return { field: "Basic " + btoa(String.fromCharCode(...bytes)), curl: " -u " + quote(one("#user").value) };
		}
		if (scheme === "bearer") return { field: "Bearer " + one("#token").value.trim(), curl: ' -H "Authorization: Bearer $TOKEN"' };
		return { field: "", curl: "" };
	};
	one("#sign")?.addEventListener("submit", (event) => event.preventDefault());
	one("#sign")?.addEventListener("input", () => {
		const scheme = one("#scheme").value;
		for (const kind of ["basic", "bearer"]) {
			const fields = one("#sign ." + kind);
			if (fields) fields.hidden = kind !== scheme;
		}
		one("#signed").textContent = { basic: "a name and password", bearer: "a token" }[scheme] ?? "none";
	});

	class Wrong extends Error {
		constructor(control, message) { super(message); this.control = control; }
	}

	// inPath encodes what a wildcard of the path stands for.
	const inPath = (control, many) => {
		const name = control.dataset.param;
		const segments = many ? control.value.split("/") : [control.value];
		if (control.value === "" && !many) throw new Wrong(control, "“" + name + "” is part of the path: it cannot be empty.");
		if (segments.some((s) => s === "." || s === "..")) throw new Wrong(control, "“" + name + "” cannot be “.” or “..” in a URL.");
		return segments.map(encodeURIComponent).join("/");
	};

	// inJSON is a value as the content has it. Digits go as they were typed.
	const inJSON = (control) => {
		const text = control.value.trim();
		switch (control.dataset.type) {
		case "integer":
		case "number":
			return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? text : JSON.stringify(control.value);
		case "boolean":
			return text;
		case "json":
			try {
				JSON.parse(text);
			} catch (error) {
				throw new Wrong(control, "“" + control.dataset.param + "” is no JSON: " + error.message + ".");
			}
			return text;
		}
		return JSON.stringify(control.value);
	};

	// requestOf reads a form. It throws Wrong.
	const requestOf = (form) => {
		const controls = all("[data-param]", form);
		const query = [], content = [];
		for (const control of controls) {
			const { param, type } = control.dataset;
			const isNull = one("[data-null]", control.parentElement)?.checked;
			if (control.dataset.in === "path") continue;
			if (control.value === "" && !isNull) {
				if (!control.required) continue;
				if (type !== "text" || control.tagName === "SELECT") throw new Wrong(control, "“" + param + "” has to be given.");
			}
			if (control.dataset.in === "query") query.push(encodeURIComponent(param) + "=" + encodeURIComponent(control.value));
			else content.push(JSON.stringify(param) + ":" + (isNull ? "null" : inJSON(control)));
		}
		const path = form.dataset.path.replace(/\{([^{}]+?)(\.\.\.)?\}/g, (_, name, many) =>
			inPath(controls.find((c) => c.dataset.in === "path" && c.dataset.param === name), many !== undefined));
		const url = new URL("./" + path, base);
		url.search = query.join("&");
		const takes = controls.some((c) => c.dataset.in === "body");
		const accept = one(".as", form)?.value ?? "application/json";
		return { url, method: form.dataset.method, accept, content: takes ? "{" + content.join(",") + "}" : null };
	};

	const curlOf = (request, curl) => {
		let line = "curl";
		if (request.method !== "GET") line += " -X " + request.method;
		line += curl;
		if (request.accept !== "application/json") line += " -H " + quote("Accept: " + request.accept);
		if (request.content !== null) line += " -H 'Content-Type: application/json' -d " + quote(request.content);
		return line + " " + quote(request.url.href);
	};

	const copyable = (text) => {
		const pre = make("pre", { textContent: text, tabIndex: 0 });
		pre.setAttribute("role", "group");
		pre.setAttribute("aria-label", "Command");
		const button = make("button", { type: "button", textContent: "Copy" });
		button.addEventListener("click", async () => {
			try {
				await navigator.clipboard.writeText(text);
				button.textContent = "Copied";
			} catch { // no permission, or a page without TLS
				getSelection().selectAllChildren(pre);
				button.textContent = "Selected";
			}
			button.addEventListener("blur", () => { button.textContent = "Copy"; }, { once: true });
		});
		return make("div", { className: "line" }, pre, button);
	};

	const more = (title, ...children) => make("details", { className: "more" }, make("summary", { textContent: title }), ...children);

	const cellOf = (value, number) => {
		const cell = make("td");
		if (value === null || value === undefined) cell.className = "null";
		else if (value instanceof Members) cell.className = "blob";
		if (number) cell.classList.add("number");
		cell.textContent = textOf(value);
		return cell;
	};
	const textOf = (value) => {
		if (value === null) return "NULL";
		if (value === undefined) return "";
		if (value instanceof Num) return value.text;
		if (!(value instanceof Members)) return typeof value === "object" ? "…" : String(value);
		const bytes = value.get("$base64");
		if (typeof bytes !== "string") return "…";
		return count(Math.floor(bytes.replace(/=+$/, "").length * 3 / 4), "byte") + ": " + (bytes.length > 60 ? bytes.slice(0, 60) + "…" : bytes);
	};

	// tableOf shows rows, each of which is a Members.
	const tableOf = (rows, title) => {
		const names = [...new Set(rows.slice(0, mostShown).flatMap((row) => row.list.map(([name]) => name)))];
		const shown = rows.slice(0, mostShown);
		const numbers = names.map((name) => {
			const values = shown.map((row) => row.get(name)).filter((value) => value !== null);
			return values.length > 0 && values.every((value) => value instanceof Num);
		});
		const head = make("tr", {}, ...names.map((name, i) => make("th", { scope: "col", textContent: name, className: numbers[i] ? "number" : "" })));
		const body = shown.map((row) => make("tr", {}, ...names.map((name, i) => cellOf(row.get(name), numbers[i]))));
		const table = make("table", {}, make("caption", { textContent: title }), make("thead", {}, head), make("tbody", {}, ...body));
		const scroll = make("div", { className: "scroll", tabIndex: 0 }, table);
		scroll.setAttribute("role", "region");
		scroll.setAttribute("aria-label", title);
		return scroll;
	};

	// read takes an answer in, up to a bound.
	const read = async (response) => {
		const reader = response.body?.getReader();
		const decoder = new TextDecoder();
		let text = "";
		for (;;) {
			const { done, value } = reader ? await reader.read() : { done: true };
			text += decoder.decode(value, { stream: !done });
			if (done) return { text, cut: false };
			if (text.length > mostRead) {
				await reader.cancel();
				return { text, cut: true };
			}
		}
	};

	// The next page has the URL of this one but for its query, whatever the answer says.
	const nextOf = (next, url) => {
		if (typeof next !== "string") return null;
		try {
			const to = new URL(next, url);
			return to.origin === url.origin && to.pathname === url.pathname ? to : null;
		} catch {
			return null;
		}
	};

	const note = (text) => make("p", { className: "soft", textContent: text });
	const alarm = (text) => {
		const line = make("p", { className: "error", textContent: text });
		line.setAttribute("role", "alert");
		return line;
	};

	// sentence is what a problem says, for people.
	const sentence = (problem, response) => {
		const detail = problem?.get?.("detail") ?? problem?.get?.("title");
		let text = typeof detail === "string" ? detail : response.statusText || "status " + response.status;
		text = text.charAt(0).toUpperCase() + text.slice(1) + ".";
		const code = problem?.get?.("code");
		if (typeof code === "string") text += " (" + code + ")";
		const wait = response.headers.get("Retry-After");
		if (wait) text += " Try again in " + wait + " s.";
		if (response.status === 401) text += one("#scheme") ? " Give credentials above." : "";
		return text;
	};

	// show fills the answer's place, and returns how many rows there are, if any.
	const show = (place, request, response, text, title, go) => {
		const type = (response.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
		let rows = null, problem = null;
		if (type === "application/json" || type.endsWith("+json")) {
			const document = parse(text);
			if (!response.ok) {
				problem = document;
				place.append(alarm(sentence(document, response)));
			} else if (document instanceof Members) {
				const list = document.get("rows");
				rows = Array.isArray(list) ? list.filter((row) => row instanceof Members) : [document];
				if (rows.length > 0) place.append(tableOf(rows, title));
				else place.append(note("No rows."));
				if (rows.length > mostShown) place.append(note("The first " + mostShown + " of " + count(rows.length, "row") + " are shown."));
				const failed = Array.isArray(list) && document.get("error");
				if (failed instanceof Members) place.append(alarm("The rows end too early: " + textOf(failed.get("message")) + "."));
				const next = Array.isArray(list) && nextOf(document.get("next"), request.url);
				if (next) {
					const button = make("button", { type: "button", textContent: "Next page" });
					button.addEventListener("click", () => go({ ...request, url: next }));
					place.append(make("p", { className: "tools" }, button));
				}
			}
		} else if (!response.ok) {
			place.append(alarm(sentence(null, response)));
		}
		const raw = more("Answer as it came", make("pre", { tabIndex: 0, textContent: text.slice(0, mostRaw) + (text.length > mostRaw ? "\n…" : "") }));
		raw.open = response.ok && rows === null;
		place.append(raw);
		return { rows, problem };
	};

	const begin = (form) => {
		const place = form.parentElement.querySelector(".answer");
		const state = one(".state", form), button = one("button", form), label = button.textContent;
		let running = null;

		const told = (request, curl) => {
			const href = request.url.href;
			const link = request.method === "GET" ? make("a", { href, textContent: href }) : href;
			place.append(make("p", { className: "soft" }, request.method + " ", link), copyable(curlOf(request, curl)));
		};

		const refuse = (wrong) => {
			place.replaceChildren(alarm(wrong.message));
			if (wrong.control) {
				wrong.control.setAttribute("aria-invalid", "true");
				wrong.control.focus();
			}
		};

		const send = async (request) => {
			const { field, curl } = credentials();
			const own = running = new AbortController();
			button.textContent = "Stop";
			state.textContent = "Asking…";
			const headers = { Accept: request.accept + ", application/problem+json" };
			if (field) headers.Authorization = field;
			const began = performance.now();
			try {
				// With credentials of one's own the browser must neither add its own nor ask for some.
				const response = await fetch(request.url, { headers, signal: own.signal, credentials: field ? "omit" : "same-origin", cache: "no-cache" });
				const { text, cut } = await read(response);
				place.replaceChildren();
				told(request, curl);
				const took = Math.round(performance.now() - began).toLocaleString("en") + " ms";
				if (cut) {
					place.append(alarm("The answer is over " + (mostRead >> 20) + " MiB, too large for this page. Ask for less, or use the command."));
					state.textContent = "";
					return;
				}
				const { rows, problem } = show(place, request, response, text, "Rows of " + form.dataset.path, send);
				state.textContent = response.status + " " + response.statusText + (rows ? ", " + count(rows.length, "row") : "") + ", " + took;
				mark(problem);
			} catch (error) {
				if (running !== own) return; // its successor speaks
				place.replaceChildren();
				told(request, curl);
				state.textContent = error.name === "AbortError" ? "Stopped" : "";
				const said = error instanceof SyntaxError ? "The answer cannot be read: " : "No answer: ";
				if (error.name !== "AbortError") place.append(alarm(said + error.message + "."));
			} finally {
				if (running === own) {
					running = null;
					button.textContent = label;
				}
			}
		};

		// mark points at the parameter that a problem is about: its message begins with the name.
		const mark = (problem) => {
			const detail = problem?.get?.("detail");
			if (problem?.get?.("code") !== "parameter" || typeof detail !== "string") return;
			const control = all("[data-param]", form).find((c) => detail.startsWith("parameter " + JSON.stringify(c.dataset.param) + " "));
			control?.setAttribute("aria-invalid", "true");
			control?.focus();
		};

		form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			if (running) {
				running.abort();
				return;
			}
			place.hidden = false;
			state.textContent = "";
			for (const control of all("[aria-invalid]", form)) control.removeAttribute("aria-invalid");
			try {
				const request = requestOf(form);
				if (!("shown" in form.dataset)) {
					send(request);
					return;
				}
				place.replaceChildren();
				told(request, credentials().curl);
				state.textContent = "The command is below.";
			} catch (error) {
				if (!(error instanceof Wrong)) throw error;
				refuse(error);
			}
		});
	};
	for (const form of all("form.try")) begin(form);

	// A link to a query opens it.
	const reveal = () => {
		const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
		if (target && target.matches("details.query")) {
			target.open = true;
			target.scrollIntoView();
		}
	};
	addEventListener("hashchange", reveal);
	reveal();
	for (const summary of all(".query > summary")) {
		summary.addEventListener("click", () => history.replaceState(null, "", summary.parentElement.open ? base : "#" + summary.parentElement.id));
	}

	one("#find")?.addEventListener("input", (event) => {
		const words = event.target.value.toLowerCase().split(/\s+/);
		let hits = 0;
		for (const query of all(".query")) {
			const text = query.querySelector("summary").textContent.toLowerCase();
			query.hidden = !words.every((word) => text.includes(word));
			hits += query.hidden ? 0 : 1;
		}
		for (const section of all("section")) section.hidden = all(".query", section).length > 0 && all(".query:not([hidden])", section).length === 0;
		one("#hits").textContent = event.target.value ? count(hits, "hit") : "";
	});
}
