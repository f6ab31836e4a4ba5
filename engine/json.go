package engine

import (
	"bytes"
	"encoding/json"
)

// marshal encodes without escaping HTML, since addresses hold > and & and people read the lines.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
