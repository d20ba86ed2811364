package web

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
)

// Limits of forms. Beside them the server's limit for bodies holds, and Body.Limit.
const (
	// FormMemory is how much of a form's files FormValue and FormFile keep in memory, in bytes; the rest goes to temporary files.
	FormMemory = 1 << 20
	// MaxFormBytes bounds the content of a form without files, in bytes. (package multipart has the same bound, and one of 1,000 parts,
	// for forms with files.)
	MaxFormBytes = 10 << 20
	// MaxFormFields bounds the fields of a form without files.
	MaxFormFields = 10_000
)

const (
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data"
)

// ParseForm reads the query and, for POST, PUT and PATCH, content of the type application/x-www-form-urlencoded into r.Form and
// r.PostForm. Fields of the content come before those of the query. Content of other types is left alone. The second call does nothing.
//
// Errors are RequestErrors: 413 for content over MaxFormBytes, MaxFormFields or a limit of the body, else 400. What could be read is
// there in any case.
func (r *Request) ParseForm() error {
	if r.Form != nil {
		return nil
	}
	var failed error
	r.PostForm, failed = r.postForm()
	r.Form = make(url.Values, len(r.PostForm))
	for name, values := range r.PostForm {
		r.Form[name] = slices.Clone(values)
	}
	query, err := url.ParseQuery(r.RawQuery)
	for name, values := range query {
		r.Form[name] = append(r.Form[name], values...)
	}
	if failed == nil && err != nil {
		failed = &RequestError{Status: 400, Err: fmt.Errorf("query: %w", err)}
	}
	return failed
}

// postForm reads a form that is the content; without one it is empty.
func (r *Request) postForm() (url.Values, error) {
	switch r.Method {
	case "POST", "PUT", "PATCH":
	default:
		return url.Values{}, nil
	}
	if r.MediaType() != formType {
		return url.Values{}, nil
	}
	content, err := r.Body.BytesMax(MaxFormBytes)
	if err != nil {
		return url.Values{}, unreadable(err)
	}
	if n := bytes.Count(content, []byte{'&'}) + 1; n > MaxFormFields {
		return url.Values{}, &RequestError{Status: 413, Err: fmt.Errorf("the form has %d fields, the limit is %d", n, MaxFormFields)}
	}
	values, err := url.ParseQuery(string(content))
	if values == nil {
		values = url.Values{}
	}
	if err != nil {
		return values, &RequestError{Status: 400, Err: fmt.Errorf("form: %w", err)}
	}
	return values, nil
}

// ParseMultipartForm reads content of the type multipart/form-data into r.MultipartForm, its values into r.Form and r.PostForm too. At
// most maxMemory bytes of files are kept in memory; the others go to files in os.TempDir, which are removed when the handler has
// returned. The values and all names may take 10 MiB beside that. It calls ParseForm.
//
// Errors are RequestErrors: 415 for content of another type, 413 for more than 1,000 parts, 10 MiB of values or a limit of the body, 400
// for what is malformed; or those of the file system. MultipartReader reads a form part by part, without temporary files.
func (r *Request) ParseMultipartForm(maxMemory int64) error {
	if r.byPart {
		return errors.New("parse a form: MultipartReader has its content")
	}
	failed := r.ParseForm()
	if r.MultipartForm != nil {
		return failed
	}
	reader, err := r.multipart(multipartType)
	if err != nil {
		return err
	}
	form, err := reader.ReadForm(maxMemory)
	if err != nil {
		return r.multipartError(err)
	}
	r.MultipartForm = form
	for name, values := range form.Value {
		r.Form[name] = append(r.Form[name], values...)
		r.PostForm[name] = append(r.PostForm[name], values...)
	}
	return failed
}

// multipartError says whose fault an error of ReadForm is.
func (r *Request) multipartError(err error) error {
	var system *fs.PathError
	switch {
	case r.Body.failed != nil && errors.Is(err, r.Body.failed):
		return unreadable(err)
	case errors.As(err, &system):
		return err
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return &RequestError{Status: 413, Err: err}
	}
	return &RequestError{Status: 400, Err: err}
}

// multipart returns the reader of content of one of the given types.
func (r *Request) multipart(types ...string) (*multipart.Reader, error) {
	value := r.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(value)
	switch {
	case !slices.Contains(types, mediaType):
		return nil, &RequestError{Status: 415, Err: http.ErrNotMultipart}
	case err != nil:
		return nil, &RequestError{Status: 400, Err: fmt.Errorf("Content-Type: %w", err)}
	case params["boundary"] == "":
		return nil, &RequestError{Status: 400, Err: http.ErrMissingBoundary}
	}
	return multipart.NewReader(&r.Body, params["boundary"]), nil
}

// MultipartReader returns a reader of content of the type multipart/form-data or multipart/mixed, which the handler reads part by part,
// as it arrives. It is called instead of ParseMultipartForm, once. Errors are RequestErrors: 415 for another type, 400 for a malformed
// Content-Type.
func (r *Request) MultipartReader() (*multipart.Reader, error) {
	if r.byPart || r.MultipartForm != nil {
		return nil, errors.New("read a multipart body: it is being read already")
	}
	reader, err := r.multipart(multipartType, "multipart/mixed")
	r.byPart = err == nil
	return reader, err
}

// parseForms reads the form, of whichever type it is. Errors are for those who ask for them.
func (r *Request) parseForms() {
	if r.MultipartForm == nil && !r.byPart && r.MediaType() == multipartType {
		_ = r.ParseMultipartForm(FormMemory)
		return
	}
	_ = r.ParseForm()
}

// FormValue returns the first value of the field name: of the content, if it is a form, else of the query; "" when there is none. It
// calls ParseMultipartForm or ParseForm and ignores their errors: call them before to see these.
func (r *Request) FormValue(name string) string {
	r.parseForms()
	return r.Form.Get(name)
}

// PostFormValue is FormValue without the query.
func (r *Request) PostFormValue(name string) string {
	r.parseForms()
	return r.PostForm.Get(name)
}

// FormFile returns the first file of the field name, or http.ErrMissingFile. It calls ParseMultipartForm. The caller closes the file.
func (r *Request) FormFile(name string) (multipart.File, *multipart.FileHeader, error) {
	if r.MultipartForm == nil {
		if err := r.ParseMultipartForm(FormMemory); err != nil {
			return nil, nil, err
		}
	}
	if files := r.MultipartForm.File[name]; len(files) > 0 {
		file, err := files[0].Open()
		return file, files[0], err
	}
	return nil, nil, http.ErrMissingFile
}

// Finish ends the handler's part of r: it removes the temporary files of its form. A server calls it when the handler has returned, not
// on a goroutine that must not wait.
func Finish(r *Request) {
	if r.MultipartForm != nil {
		_ = r.MultipartForm.RemoveAll() // nobody is left to tell, and a later clean-up of the folder gets what stays
	}
	r.forget()
}
