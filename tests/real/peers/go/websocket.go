package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"
)

// limit is longer than any message of the tests.
const limit = 16 << 20

// action is one step of a client: a message in so many pieces, of text or of "a" so many times, or an end.
type action struct {
	Do     string   `json:"do"`
	Text   []string `json:"text"`
	Sizes  []int    `json:"sizes"`
	Code   int      `json:"code"`
	Reason string   `json:"reason"`
}

// session is what one side of a WebSocket heard.
type session struct {
	// Kind, length, digest.
	Heard       [][3]any `json:"heard"`
	Subprotocol string   `json:"subprotocol"`
	// 1005: a close frame without a code. 1006: the connection ended without a close frame.
	Code   int    `json:"code"`
	Reason string `json:"reason"`
	// The status of a refused handshake, and its content.
	Refused int    `json:"refused"`
	Body    string `json:"body"`
	Error   string `json:"error"`
}

func (s *session) note(kind websocket.MessageType, data []byte) {
	name := map[websocket.MessageType]string{websocket.MessageText: "text", websocket.MessageBinary: "binary"}[kind]
	s.Heard = append(s.Heard, [3]any{name, len(data), digest(data)})
}

func (s *session) ended(err error) {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		s.Code, s.Reason = int(closed.Code), closed.Reason
		return
	}
	s.Code = int(websocket.StatusAbnormalClosure)
}

func compression(wanted bool) websocket.CompressionMode {
	if wanted {
		return websocket.CompressionContextTakeover
	}
	return websocket.CompressionDisabled
}

// converse is the server's side: messages go back, and words say how to end.
func converse(w http.ResponseWriter, r *http.Request) session {
	told := session{Heard: [][3]any{}}
	if status, _ := strconv.Atoi(r.URL.Query().Get("refuse")); status != 0 {
		http.Error(w, "not here", status)
		told.Refused = status
		return told
	}
	connection, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{"shop.v1"}, CompressionMode: compression(true), InsecureSkipVerify: true,
	})
	if err != nil {
		told.Error = err.Error()
		return told
	}
	defer connection.CloseNow()
	connection.SetReadLimit(limit)
	told.Subprotocol = connection.Subprotocol()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		kind, data, err := connection.Read(ctx)
		if err != nil {
			told.ended(err)
			return told
		}
		told.note(kind, data)
		word, rest, _ := strings.Cut(string(data), " ")
		switch {
		case kind == websocket.MessageText && word == "close":
			code, reason, _ := strings.Cut(rest, " ")
			number, _ := strconv.Atoi(code)
			// Returns when the other side has answered.
			if err := connection.Close(websocket.StatusCode(number), reason); err != nil {
				told.Error = err.Error()
			}
			told.Code, told.Reason = number, reason
			return told
		case kind == websocket.MessageText && word == "break":
			told.Code = int(websocket.StatusAbnormalClosure)
			return told
		}
		if err := connection.Write(ctx, kind, data); err != nil {
			told.Error = err.Error()
			return told
		}
	}
}

// talk is the client's side.
func talk(order order) session {
	told := session{Heard: [][3]any{}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connection, response, err := websocket.Dial(ctx, order.URL, &websocket.DialOptions{
		Subprotocols: order.Subprotocols, CompressionMode: compression(order.Compressed),
	})
	if err != nil {
		if response != nil {
			body, _ := io.ReadAll(response.Body)
			told.Refused, told.Body = response.StatusCode, string(body)
		}
		told.Error = err.Error()
		return told
	}
	defer connection.CloseNow()
	connection.SetReadLimit(limit)
	told.Subprotocol = connection.Subprotocol()
	for _, action := range order.WebSocket {
		if done, err := act(ctx, connection, action, &told); err != nil {
			told.ended(err)
			if told.Code == int(websocket.StatusAbnormalClosure) {
				told.Error = err.Error()
			}
			return told
		} else if done {
			return told
		}
	}
	_, _, err = connection.Read(ctx)
	told.ended(err)
	return told
}

// act carries one action out; true when it was the last.
func act(ctx context.Context, connection *websocket.Conn, action action, told *session) (bool, error) {
	switch action.Do {
	case "say":
		if err := say(ctx, connection, action); err != nil {
			return false, err
		}
		kind, data, err := connection.Read(ctx)
		if err == nil {
			told.note(kind, data)
		}
		return false, err
	case "command":
		return false, connection.Write(ctx, websocket.MessageText, []byte(action.Text[0]))
	case "close":
		told.Code, told.Reason = action.Code, action.Reason
		return true, connection.Close(websocket.StatusCode(action.Code), action.Reason)
	case "break":
		told.Code = int(websocket.StatusAbnormalClosure)
		return true, connection.CloseNow()
	}
	return false, fmt.Errorf("unknown action %q", action.Do)
}

// say sends one message, a frame for each piece.
func say(ctx context.Context, connection *websocket.Conn, action action) error {
	kind, pieces := websocket.MessageText, [][]byte{}
	for _, text := range action.Text {
		pieces = append(pieces, []byte(text))
	}
	if action.Sizes != nil {
		kind = websocket.MessageBinary
		for _, size := range action.Sizes {
			pieces = append(pieces, bytes.Repeat([]byte("a"), size))
		}
	}
	writer, err := connection.Writer(ctx, kind)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if _, err := writer.Write(piece); err != nil {
			return err
		}
	}
	return writer.Close()
}
