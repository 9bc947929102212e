// The API to read and to try out, by Swagger UI. Keys that are entered stay in this tab and are forgotten with it.
if (globalThis.SwaggerUIBundle) {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#api",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
}
