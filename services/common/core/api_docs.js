"use strict";
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#operations",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // Its default sends the address of the document to validator.swagger.io.
  validatorUrl: null,
});
