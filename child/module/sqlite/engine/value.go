package engine

// Kind is a storage class of SQLite (https://www.sqlite.org/datatype3.html, 2).
type Kind uint8

// The storage classes. The zero Value is NULL.
const (
	Null Kind = iota
	Integer
	Real
	Text
	Blob
)

// String returns the name that typeof() has for k.
func (k Kind) String() string {
	return [...]string{"null", "integer", "real", "text", "blob"}[k]
}

// A Value is one value that SQL takes or gives. It has no idea of booleans, dates or decimals: nor has SQLite.
type Value struct {
	Kind  Kind
	Int   int64   // of an Integer
	Real  float64 // of a Real; NaN is NULL to SQLite
	Bytes []byte  // of a Text, which should be UTF-8, or of a Blob
}

// IntegerOf returns i as a Value.
func IntegerOf(i int64) Value { return Value{Kind: Integer, Int: i} }

// RealOf returns f as a Value.
func RealOf(f float64) Value { return Value{Kind: Real, Real: f} }

// TextOf returns s as a Value.
func TextOf(s string) Value { return Value{Kind: Text, Bytes: []byte(s)} }

// BlobOf returns b, which it keeps, as a Value.
func BlobOf(b []byte) Value { return Value{Kind: Blob, Bytes: b} }

// Clone returns a copy of v that shares no memory with it.
func (v Value) Clone() Value {
	if v.Bytes != nil {
		v.Bytes = append(make([]byte, 0, len(v.Bytes)), v.Bytes...)
	}
	return v
}
