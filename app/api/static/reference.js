// The page at /api/docs: Swagger UI with the document of this service, in the browser's color scheme.

const isEventStream = (state, path, method) =>
  state.getIn(['json', 'paths', path, method, 'responses', '200', 'content', 'text/event-stream']) !== undefined;

// "Try it out" shows an answer once it is complete, and a stream never is.
const withoutTryingStreams = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        allowTryItOutFor: () => (state, path, method) => !isEventStream(state, path, method),
      },
    },
  },
});

const dark = matchMedia('(prefers-color-scheme: dark)');
const applyColorScheme = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', applyColorScheme);
applyColorScheme();

const reference = document.getElementById('reference');
SwaggerUIBundle({
  domNode: reference,
  url: reference.dataset.documentUrl,
  deepLinking: true,
  defaultModelExpandDepth: 4,
  displayRequestDuration: true,
  plugins: [withoutTryingStreams],
  validatorUrl: null, // otherwise it asks validator.swagger.io
});
