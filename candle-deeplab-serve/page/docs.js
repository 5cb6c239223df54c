// @ts-check
// Shows /openapi.json for people.

/**
 * Makes an element with text and children.
 * @param {string} name
 * @param {string} [text]
 * @param {Node[]} [children]
 */
function element(name, text = "", children = []) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

/** @param {any} operation */
function parameters(operation) {
  const rows = (operation.parameters ?? []).map((/** @type {any} */ parameter) =>
    element("tr", "", [
      element("td", "", [element("code", parameter.name)]),
      element("td", parameter.in + (parameter.required ? ", required" : "")),
      element("td", parameter.description ?? ""),
    ]));
  return rows.length ? [element("table", "", rows)] : [];
}

/** @param {any} operation */
function answers(operation) {
  return Object.entries(operation.responses ?? {}).map(([status, answer]) => {
    const types = Object.keys(/** @type {any} */ (answer).content ?? {}).join(", ");
    const description = /** @type {any} */ (answer).description ?? "";
    return element("li", [status, description, types].filter(Boolean).join(": "));
  });
}

/** @param {any} description */
function show(description) {
  const main = document.getElementById("interface");
  const sections = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(/** @type {any} */ (methods)).map(([method, operation]) =>
      element("section", "", [
        element("h2", "", [element("code", `${method.toUpperCase()} ${path}`)]),
        element("p", operation.summary ?? ""),
        element("p", operation.description ?? ""),
        ...parameters(operation),
        element("ul", "", answers(operation)),
      ])));
  const link = document.createElement("a");
  link.href = "openapi.json";
  link.textContent = "openapi.json";
  main?.replaceChildren(
    element("h1", `${description.info.title} ${description.info.version}`),
    element("p", description.info.description ?? ""),
    element("p", "For programs: ", [link]),
    ...sections,
  );
}

const answer = await fetch("openapi.json");
show(await answer.json());
