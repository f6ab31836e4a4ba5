package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// The Arrow library allocates as many elements as a vector's length in the file says, before it reads one: a damaged
// length costs any amount of memory, and that cannot be recovered from. So these lengths are checked first, in the footer and in
// the messages, by the layout of Arrow's format/File.fbs, Schema.fbs and Message.fbs. A read outside of the bytes panics here as it
// does in the library; parse turns that into an error.

// Slots of the tables: 4 + 2 × the field's place.
const (
	footerSchema, footerDictionaries, footerBatches, footerMetadata = 6, 8, 10, 12
	schemaFields, schemaMetadata                                    = 6, 8
	fieldChildren, fieldMetadata                                    = 14, 16
	messageHeaderType, messageHeader, messageMetadata               = 6, 8, 12
	batchNodes, batchBuffers, batchCompression, batchVariadic       = 6, 8, 10, 12

	headerRecordBatch = 3 // of the union MessageHeader
	blockSize         = 24
	maxFields         = 256 // of all levels together
)

var errLength = errors.New("malformed Arrow file: a list is longer than the file")

// checkLengths refuses a file with a vector that does not fit into it.
func checkLengths(data []byte) error {
	const trailer = 10 // the footer's length and "ARROW1"
	if len(data) < trailer+8 {
		return errors.New("malformed Arrow file: it is too short")
	}
	end := len(data) - trailer
	size := int(int32(binary.LittleEndian.Uint32(data[end:])))
	if size < 4 || size > end {
		return errors.New("malformed Arrow file: it has no footer")
	}
	footer := root(data[end-size : end])
	schema, ok := child(footer, footerSchema)
	if !ok {
		return errors.New("malformed Arrow file: it has no schema")
	}
	fields := maxFields
	if err := errors.Join(checkVector(footer, footerMetadata, 4), checkVector(schema, schemaMetadata, 4), checkFields(schema, schemaFields, &fields)); err != nil {
		return err
	}
	if n, _, _ := vector(footer, footerDictionaries, blockSize); n != 0 {
		return errors.New("dictionary-encoded columns are not read")
	}
	n, start, err := vector(footer, footerBatches, blockSize)
	if err != nil {
		return err
	}
	for i := range n {
		block := footer.Bytes[start+i*blockSize:]
		if err := checkMessage(data, int64(binary.LittleEndian.Uint64(block)), int(int32(binary.LittleEndian.Uint32(block[8:])))); err != nil {
			return fmt.Errorf("record batch %d: %w", i, err)
		}
	}
	return nil
}

// checkMessage checks the metadata, size bytes at offset, of a record batch.
func checkMessage(data []byte, offset int64, size int) error {
	if offset < 0 || size < 8 || offset > int64(len(data)-size) {
		return errLength
	}
	meta := data[offset : offset+int64(size)]
	prefix := 4 // the length, after a mark of four bytes 0xff since version 0.15 of the format
	if binary.LittleEndian.Uint32(meta) == 0xffffffff {
		prefix = 8
	}
	message := root(meta[prefix:])
	if err := checkVector(message, messageMetadata, 4); err != nil {
		return err
	}
	if o := message.Offset(messageHeaderType); o == 0 || message.GetByte(message.Pos+flatbuffers.UOffsetT(o)) != headerRecordBatch {
		return errors.New("malformed Arrow file: not a record batch")
	}
	batch, ok := child(message, messageHeader)
	if !ok {
		return errors.New("malformed Arrow file: a record batch without content")
	}
	if batch.Offset(batchCompression) != 0 {
		return errors.New("compressed columns are not read: a dataset is mapped into memory as it is")
	}
	if n, _, _ := vector(batch, batchVariadic, 8); n != 0 {
		return errors.New("columns of views are not read")
	}
	return errors.Join(checkVector(batch, batchNodes, 16), checkVector(batch, batchBuffers, 16))
}

// checkFields checks the fields in a slot of a schema or a field, and theirs; left bounds their number.
func checkFields(t flatbuffers.Table, slot flatbuffers.VOffsetT, left *int) error {
	n, start, err := vector(t, slot, 4)
	if err != nil {
		return err
	}
	for i := range n {
		if *left--; *left < 0 {
			return fmt.Errorf("the schema has more than %d fields", maxFields)
		}
		at := flatbuffers.UOffsetT(start + 4*i)
		field := flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}
		if err := errors.Join(checkVector(field, fieldMetadata, 4), checkFields(field, fieldChildren, left)); err != nil {
			return err
		}
	}
	return nil
}

func root(b []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
}

// child returns the table that a slot refers to.
func child(t flatbuffers.Table, slot flatbuffers.VOffsetT) (flatbuffers.Table, bool) {
	o := t.Offset(slot)
	if o == 0 {
		return flatbuffers.Table{}, false
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + flatbuffers.UOffsetT(o))}, true
}

// vector returns the number of elements in a slot, 0 when it is empty, and where they begin.
func vector(t flatbuffers.Table, slot flatbuffers.VOffsetT, size int) (n, start int, err error) {
	o := flatbuffers.UOffsetT(t.Offset(slot))
	if o == 0 {
		return 0, 0, nil
	}
	n, start = t.VectorLen(o), int(t.Vector(o))
	if n < 0 || start > len(t.Bytes) || n > (len(t.Bytes)-start)/size {
		return 0, 0, errLength
	}
	return n, start, nil
}

func checkVector(t flatbuffers.Table, slot flatbuffers.VOffsetT, size int) error {
	_, _, err := vector(t, slot, size)
	return err
}
