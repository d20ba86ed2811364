package web

import "net/http"

// Error answers with status and its reason phrase as text: the plain error page.
func Error(w *Response, status int) {
	w.SetStatus(status)
	w.SendString(http.StatusText(status) + "\n")
}
